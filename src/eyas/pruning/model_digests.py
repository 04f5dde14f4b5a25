"""Digests of a network's layers and of its code: they tell networks apart whose tensors have the same shapes."""

import hashlib
import inspect
from collections.abc import Iterator
from types import FunctionType

from torch import nn

from eyas.pruning.plan import canonical_json


def modules_digest(model: nn.Module) -> str:
    """sha256 over the modules' names, classes and options (strides, kernel sizes): what shapes do not tell."""
    modules = [
        [path, type(module).__name__, {name: str(getattr(module, name, None)) for name in _options(module)}]
        for path, module in model.named_modules()
    ]
    return hashlib.sha256(canonical_json(modules).encode()).hexdigest()


def _options(module: nn.Module) -> set[str]:
    """The constants that its class declares, and its plain public attributes: a flag may choose what it computes."""
    plain = {
        name for name, value in vars(module).items() if isinstance(value, (bool, int, str)) and not name.startswith("_")
    }
    return plain - {"training"} | set(getattr(type(module), "__constants__", ()))


def code_digest(model: nn.Module) -> str:
    """sha256 over the source of the modules' methods and functions: how the network is wired.

    Code of torch itself does not count, nor where a file lies; what has no source (typed into a console) cannot.
    """
    functions = {function for module in model.modules() for function in _functions(module)}
    return hashlib.sha256(canonical_json(sorted({_source(function) for function in functions})).encode()).hexdigest()


def _functions(module: nn.Module) -> Iterator[FunctionType]:
    """Python functions among the attributes of a module and of its classes, bound or not."""
    for holder in (module, *type(module).__mro__):
        for member in vars(holder).values():
            function = getattr(member, "fget", getattr(member, "__func__", member))
            if isinstance(function, FunctionType) and not str(function.__module__).startswith("torch."):
                yield function


def _source(function: FunctionType) -> str:
    try:
        return inspect.getsource(function)
    except OSError:
        return ""
