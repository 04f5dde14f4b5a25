"""Optimisers by torch's name for them, or by reference to a class; their arguments are checked before any training."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from eyas.errors import ParameterError, nearest, one_line
from eyas.training.large_batch import Lamb, Lars
from eyas.training.references import import_reference, is_reference

SHARED = {"learning_rate": "lr", "momentum": "momentum", "weight_decay": "weight_decay"}
"""What a recipe says of its optimiser itself, and the argument that it is."""
_BY_NAME = {
    name.lower(): member
    for name, member in vars(torch.optim).items()
    if isinstance(member, type) and issubclass(member, torch.optim.Optimizer) and member is not torch.optim.Optimizer
} | {"lamb": Lamb, "lars": Lars}


def find_optimizer(name: str) -> Callable[..., torch.optim.Optimizer]:
    """The class of ``torch.optim`` that has this name, in whatever case, LARS, LAMB, or the one that a reference names.

    Raises:
        ParameterError: there is none; says which there are.
    """
    if is_reference(name):
        return import_reference(name)
    if name.lower() not in _BY_NAME:
        known = f"{', '.join(_BY_NAME)}, or your own as package.module:Class"
        msg = f"optimizer {name!r} is not in torch.optim{nearest(name.lower(), _BY_NAME)}: give {known}"
        raise ParameterError(msg)
    return _BY_NAME[name.lower()]


def optimizer_defaults(name: str) -> dict[str, Any]:
    """By the names of :data:`SHARED`, what an optimiser takes where nothing is said; 0 of what it does not know."""
    takes = inspect.signature(find_optimizer(name)).parameters
    values = {field: takes[word].default if word in takes else 0.0 for field, word in SHARED.items()}
    return {field: value for field, value in values.items() if value is not inspect.Parameter.empty}


def make_optimizer(
    name: str, groups: Iterable[Any], shared: Mapping[str, Any], arguments: Mapping[str, Any]
) -> torch.optim.Optimizer:
    """An optimiser over ``groups``, as ``torch.optim`` takes them.

    Args:
        name: of the class.
        groups: parameters, and what holds for them alone.
        shared: what of :data:`SHARED` the recipe has.
        arguments: further ones of the constructor.

    Raises:
        ParameterError: it does not take them; says what it takes.
    """
    optimizer = find_optimizer(name)
    takes = inspect.signature(optimizer).parameters
    for field, value in shared.items():
        if SHARED[field] not in takes and value:
            raise ParameterError(f"optimizer {name} knows no {SHARED[field]}: leave {field} out")
        if SHARED[field] in arguments:
            raise ParameterError(f"optimizer_arguments: {SHARED[field]} is the recipe's own {field}: write it there")
    _require_known(name, arguments, takes)
    words = {SHARED[field]: value for field, value in shared.items() if SHARED[field] in takes}
    return optimizer(groups, **words, **arguments)


def _require_known(name: str, arguments: Mapping[str, Any], takes: Mapping[str, inspect.Parameter]) -> None:
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in takes.values()):
        return
    names = sorted(takes.keys() - {"params", *SHARED.values()})
    for argument in arguments.keys() - takes.keys():
        msg = f"optimizer_arguments: {name} takes no {argument}{nearest(argument, names)}, but {', '.join(names)}"
        raise ParameterError(msg)


def try_optimizer(name: str, make: Callable[[nn.Module], torch.optim.Optimizer]) -> None:
    """Take a step with what ``make`` makes for the weight of a convolution and a bias.

    Raises:
        ParameterError: it cannot be made, or cannot step.
    """
    parameters = [nn.Parameter(torch.zeros(2, 1, 1, 1)), nn.Parameter(torch.zeros(2))]
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    try:
        make(nn.ParameterList(parameters)).step()
    except ParameterError:
        raise
    except Exception as error:
        msg = f"optimizer {name} cannot be used: {type(error).__name__}: {one_line(error)}"
        raise ParameterError(msg) from error
