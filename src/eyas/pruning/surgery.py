"""Cut a network down to a plan: a new module with sliced parameters and true attributes.

No weight is copied before it is sliced: the module tree is rebuilt with the parameters shared, then each
parameter is replaced by its kept entries.

A module that pads channels with zeros (the option-A shortcut of He et al. 2015, arXiv:1512.03385, section
4.2) can be rewritten if its class names its two integer attributes: ``zero_channels = ("before", "after")``.
"""

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eyas.pruning.bound_functions import bind_functions
from eyas.pruning.dropped_layers import Branch

if TYPE_CHECKING:
    from eyas.pruning.plan import PruningPlan
    from eyas.pruning.residual_block import ResidualBlock
    from eyas.pruning.space import SearchSpace

Model = TypeVar("Model", bound=nn.Module)
Slices = Mapping[str, Mapping[int, NDArray[np.int64]]]
"""``{parameter or buffer: {dimension: kept indices, ascending}}``."""

_PLAIN = (int, float, str, bool, bytes, type(None), torch.dtype, torch.device, type)
_CONTAINERS = (dict, OrderedDict, set, list)
_TABLES = ("_parameters", "_buffers", "_modules")


def prune(model: Model, space: "SearchSpace", plan: "PruningPlan") -> Model:
    """A new, smaller module of the same class that keeps the channels of ``plan``.

    Raises:
        PlanError: the plan belongs to another search space.
        CheckpointError: ``model`` is not of the architecture that was traced.
    """
    model = uncompiled(model)
    space.check_model(model)
    return slice_model(model, space.slices(plan), space.attributes(plan), space.dropped(plan))


def uncompiled(model: Model) -> Model:
    """The network that ``torch.compile`` wrapped; any other as it is."""
    while "_orig_mod" in model._modules:
        model = cast("Model", model._modules["_orig_mod"])
    return model


def slice_model(
    model: Model,
    slices: Slices,
    attributes: Mapping[tuple[str, str], int],
    dropped: Sequence["ResidualBlock"] = (),
    *,
    share: bool = False,
) -> Model:
    """Rebuild ``model`` with sliced tensors; ``attributes`` are ``{(module, name): new value}``.

    Without the branches of the blocks that are ``dropped``.

    With ``share``, tensors that stay whole are the original's own: for networks that only run.
    """
    names = _names_by_identity(model)
    done: dict[int, Tensor] = {}

    def take(tensor: Tensor) -> Tensor:
        if id(tensor) not in done:
            kept = slices.get(names.get(id(tensor), ""), {})
            done[id(tensor)] = tensor if share and not kept else _sliced(tensor, kept)
        return done[id(tensor)]

    small = rebuild(model, take)
    for branch in [Branch(small, block.layers, block.tensors) for block in dropped]:
        branch.take_out()
    for (module, name), value in attributes.items():
        setattr(small.get_submodule(module), name, value)
    return small


def share_structure(model: Model) -> Model:
    """A new module tree on the same parameters and buffers; flags and attributes are its own."""
    return rebuild(model, lambda tensor: tensor)


def scratch_copy(model: Model) -> Model:
    """:func:`share_structure` with buffers of its own, since forward code may change them."""
    return rebuild(model, lambda tensor: tensor if isinstance(tensor, nn.Parameter) else tensor.detach().clone())


def rebuild(model: Model, take: Any) -> Model:
    """Copy the module tree; each parameter and buffer becomes ``take(tensor)``."""
    modules = list(model.modules())
    memo: dict[int, Any] = {id(module): module.__class__.__new__(module.__class__) for module in modules}
    for module in modules:
        for table in ("_parameters", "_buffers"):
            for tensor in module.__dict__[table].values():
                if tensor is not None:
                    memo[id(tensor)] = take(tensor)
    for module in modules:
        _fill(memo[id(module)], module, memo)
    return memo[id(model)]  # type: ignore[no-any-return]


def _fill(new: nn.Module, old: nn.Module, memo: dict[int, Any]) -> None:
    """Attributes of ``old`` for ``new``: members mapped by ``memo``, everything else copied."""
    state: dict[str, Any] = {}
    for name, value in old.__dict__.items():
        if name in _TABLES:
            state[name] = {key: memo.get(id(item)) for key, item in value.items()}
        elif isinstance(value, _PLAIN):
            state[name] = value
        elif type(value) in _CONTAINERS and not value:
            state[name] = type(value)()
        elif isinstance(value, tuple) and all(isinstance(item, _PLAIN) for item in value):
            state[name] = value
        else:
            state[name] = _copied(value, memo)
    new.__dict__.update(state)


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    """A deep copy; what cannot be copied (handles of libraries, open files) is shared."""
    bind_functions(value, memo)
    try:
        return memo[id(value)] if id(value) in memo else copy.deepcopy(value, memo)
    except (TypeError, ValueError, RuntimeError, NotImplementedError):
        return value


def _sliced(tensor: Tensor, kept: Mapping[int, NDArray[np.int64]]) -> Tensor:
    """A new tensor with the kept entries; same dtype, device, memory format, requires_grad."""
    with torch.no_grad():
        result = tensor.detach()
        for dim in sorted(kept):
            result = result.index_select(dim, torch.from_numpy(kept[dim]).to(tensor.device))
        if not kept:
            result = result.clone()
        if tensor.ndim == 4 and not tensor.is_contiguous():
            result = result.contiguous(memory_format=torch.channels_last)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(result, requires_grad=tensor.requires_grad)
    return result


def _names_by_identity(model: nn.Module) -> dict[int, str]:
    """First name of each parameter and buffer by the tensor's identity."""
    names: dict[int, str] = {}
    for members in (model.named_parameters(), model.named_buffers()):
        for name, tensor in members:
            names.setdefault(id(tensor), name)
    return names
