"""Shared by the criteria that rate channels by weights: ratings per member of a group, summed over the group."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from eyas.pruning.groups import ChannelGroup, Member, Role

if TYPE_CHECKING:
    from torch import Tensor, nn


def to_mean_one(rating_U: "Tensor") -> "Tensor":
    """Divided by the mean, so that members of any scale have an equal say."""
    mean = rating_U.mean()
    return rating_U / mean if mean > 0 else rating_U


def aggregate(
    group: ChannelGroup,
    model: "nn.Module",
    role: Role,
    rate: "Callable[[Tensor], Tensor]",
    normalise: "Callable[[Tensor], Tensor]" = to_mean_one,
) -> "Tensor":
    """Ratings of a group's channels, summed over its members of one role, each normalised.

    Args:
        group: the channels to rate.
        model: the network that holds the weights; not changed.
        role: which members count (see :class:`eyas.pruning.groups.Member`).
        rate: takes a weight with the channels first, ``(channels, ...)``, gives one number each.
        normalise: makes the ratings of the units by one member comparable to those by another.

    Returns:
        Shape ``(group.channels,)``, float64 on the CPU; zeros where the group has no such member.
    """
    import torch

    ratings = (
        rate(channels_first(model, member)).to("cpu", torch.float64)[torch.from_numpy(member.positions)].mean(dim=1)
        for member in group.members
        if member.role == role
    )
    return per_channel(group, map(normalise, ratings))


def group_norm_of(group: ChannelGroup, model: "nn.Module", order: int, role: Role = "out") -> "Tensor":
    """Norm of the weights that make each channel, or of those that read it."""
    return aggregate(group, model, role, lambda weight: weight.flatten(1).norm(p=order, dim=1))


def channels_first(model: "nn.Module", member: Member) -> "Tensor":
    """A member's weight with the channels of the group first."""
    path, _, leaf = member.parameter.rpartition(".")
    weight: Tensor = getattr(model.get_submodule(path), leaf)
    return weight.detach().transpose(0, member.dim)


def per_channel(group: ChannelGroup, ratings: "Iterable[Tensor]") -> "Tensor":
    """The sum of ratings per unit, as one number per channel; float64."""
    import torch

    total_U = sum(ratings, torch.zeros(group.units, dtype=torch.float64))
    return total_U[torch.from_numpy(group.unit_of_channel)]
