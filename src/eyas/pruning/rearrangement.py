"""Filters in another order, and all that reads them: the network computes the same."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from eyas.errors import PlanError
from eyas.pruning.groups import ChannelGroup, Ints

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace


def rearrange_filters(model: nn.Module, space: "SearchSpace", weights: frozenset[str]) -> tuple[str, ...]:
    """Sort the filters of layers by their L1 norm, ascending, in place (1xN pattern, arXiv:2105.14713, section 3.3).

    Only groups whose channels a single layer makes are sorted: filters of several layers that are added have one order.

    Args:
        model: of the architecture of ``space``; every tensor of its own.
        space: its search space.
        weights: parameters of the layers to sort.

    Returns:
        names of the groups that were sorted.

    Raises:
        CheckpointError: ``model`` is not of the architecture that was traced.
    """
    space.check_model(model)
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    done = []
    for group in space.groups:
        maker = _only_maker(group, tensors)
        if maker in weights:
            norms_O = tensors[maker].detach().abs().flatten(1).sum(1)
            of_unit = next(member.positions[:, 0] for member in group.members if member.parameter == maker)
            order = np.argsort(norms_O.cpu().numpy()[of_unit], kind="stable")
            permute_units(tensors, group, order)
            done.append(group.name)
    return tuple(done)


@torch.no_grad()
def permute_units(tensors: dict[str, Tensor], group: ChannelGroup, order: Ints) -> None:
    """Put unit ``order[i]`` of a group in the place of unit ``i``, in every tensor that holds it.

    Raises:
        PlanError: ``order`` is no permutation of the group's units.
    """
    if sorted(order.tolist()) != list(range(group.units)):
        raise PlanError(f"group {group.name!r} has {group.units} units: an order names each of them once")
    for member in group.members:
        tensor = tensors[member.parameter]
        index = np.arange(tensor.shape[member.dim])
        index[member.positions] = member.positions[order]
        tensor.copy_(tensor.index_select(member.dim, torch.from_numpy(index).to(tensor.device)))


def _only_maker(group: ChannelGroup, tensors: dict[str, Tensor]) -> str | None:
    """The weight that alone makes a group's channels, each in a filter of its own; depthwise layers pass them on."""
    makers = []
    for member in group.members:
        shape = tensors[member.parameter].shape
        depthwise = len(shape) > 2 and shape[1] == 1
        if member.role is None:
            return None
        if member.role == "out" and not depthwise:
            makers.append(member)
    whole = len(makers) == 1 and makers[0].dim == 0 and makers[0].positions.shape == (group.units, 1)
    return makers[0].parameter if whole and group.units == len(tensors[makers[0].parameter]) else None
