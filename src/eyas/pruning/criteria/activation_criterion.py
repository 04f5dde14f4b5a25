"""What the criteria share that rate a channel by what its readers see of it, whatever they weigh it."""

from abc import abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor, nn

from eyas.pruning.activations import Activations, ChannelMoments, record_activations
from eyas.pruning.calibration_set import CalibrationSet
from eyas.pruning.criteria.image_criterion import ImageCriterion
from eyas.pruning.criteria.norms import per_channel, to_mean_one
from eyas.pruning.groups import ChannelGroup, Member

_Seen = tuple[Member, ChannelMoments]


class ActivationCriterion(ImageCriterion):
    """A statistic of a channel at the input of every layer that reads it, each normalised to mean 1 and summed."""

    @abstractmethod
    def statistic(self, moments: ChannelMoments) -> Tensor:
        """Of each channel that a layer reads, ``(C,)``."""

    def observe(self, model: nn.Module, data: CalibrationSet) -> Activations:
        """The activations of all layers, in one pass over the images."""
        return record_activations(model, data.images)

    def __call__(self, group: ChannelGroup, model: nn.Module, data: Any = None) -> Tensor:
        """Importance of each channel, shape ``(group.channels,)``; ``data`` are images, or what ``prepare`` gave.

        What no layer reads by its weight is rated where it is made.
        """
        activations = self.prepare(model, data)
        moments = _moments(group, activations, "in") or _moments(group, activations, "out")
        ratings = (self.statistic(seen)[torch.from_numpy(member.positions)].mean(1) for member, seen in moments)
        return per_channel(group, map(to_mean_one, ratings))


def _moments(group: ChannelGroup, activations: Activations, role: Literal["in", "out"]) -> list[_Seen]:
    """What the group's members of one role read or make, of those whose calls were seen."""
    seen = ((member, activations.get(member.parameter)) for member in group.members if member.role == role)
    return [(member, layer.inputs if role == "in" else layer.outputs) for member, layer in seen if layer is not None]
