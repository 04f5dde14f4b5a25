"""Shared by the criteria that rate channels by their own weights."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from eyas.pruning.groups import ChannelGroup, Role


def aggregate(group: ChannelGroup, model: nn.Module, role: Role, rate: Callable[[Tensor], Tensor]) -> Tensor:
    """Ratings of a group's channels, summed over its members of one role, each normalised to mean 1.

    Args:
        group: the channels to rate.
        model: the network that holds the weights; not changed.
        role: which members count (see :class:`eyas.pruning.groups.Member`).
        rate: takes a weight with the channels first, ``(channels, ...)``, gives one number each.

    Returns:
        Shape ``(group.channels,)``, float64 on the CPU; zeros where the group has no such member.
    """
    total_U = torch.zeros(group.units, dtype=torch.float64)
    for member in group.members:
        if member.role == role:
            weight = _tensor(model, member.parameter).detach().transpose(0, member.dim)
            rating_C = rate(weight).to("cpu", torch.float64)
            rating_U = rating_C[torch.from_numpy(member.positions)].mean(dim=1)
            scale = rating_U.mean()
            total_U += rating_U / scale if scale > 0 else rating_U
    return total_U[torch.from_numpy(group.unit_of_channel)]


def group_norm_of(group: ChannelGroup, model: nn.Module, order: int) -> Tensor:
    """Norm of the weights that make each channel."""
    return aggregate(group, model, "out", lambda weight: weight.flatten(1).norm(p=order, dim=1))


def _tensor(model: nn.Module, name: str) -> Tensor:
    """A parameter or buffer by name."""
    path, _, leaf = name.rpartition(".")
    return getattr(model.get_submodule(path), leaf)  # type: ignore[no-any-return]
