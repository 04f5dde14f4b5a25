"""On how many images a channel is among the strongest."""

from collections import defaultdict
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from eyas.pruning.activations import watch_layers
from eyas.pruning.calibration_set import CalibrationSet
from eyas.pruning.criteria.group_norm import GroupNorm
from eyas.pruning.criteria.image_criterion import ImageCriterion
from eyas.pruning.criteria.norms import per_channel
from eyas.pruning.groups import ChannelGroup
from eyas.pruning.layer_calls import LayerCall


class KeepFrequency(ImageCriterion):
    r"""Share of images on which pruning by the input would keep a channel (FTWT, arXiv:2110.08232).

    Use it where images differ much in which channels they need, so that a mean over them says little: a channel that
    is decisive for some stays before one that is middling for all. Reads no labels.

    Of each image the channels that a layer reads are kept by falling :math:`\max |x_c|`, until these sum up to more
    than ``mass`` of all; the frequency is a mean over images and over the layers that read the channel. A group that
    nothing reads by weights is rated by ``group_norm``.
    """

    kind: Literal["keep_frequency"] = "keep_frequency"
    mass: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Share of the summed activation that is kept of each image."""

    def observe(self, model: nn.Module, data: CalibrationSet) -> dict[str, Tensor]:
        """The largest magnitude of each channel that a layer reads, on each image: ``(images, channels)``."""
        strengths: dict[str, list[Tensor]] = defaultdict(list)

        def record(call: LayerCall) -> Tensor:
            magnitude_NC = call.input.detach().abs().movedim(call.channel_dim(call.input), 1)
            strengths[call.name].append(magnitude_NC.reshape(*magnitude_NC.shape[:2], -1).amax(2).cpu())
            return call()

        watch_layers(model, data.images, record)
        return {name: torch.cat(parts) for name, parts in strengths.items()}

    def __call__(self, group: ChannelGroup, model: nn.Module, data: Any = None) -> Tensor:
        """Importance of each channel, shape ``(group.channels,)``; ``data`` are images, or what ``prepare`` gave."""
        strengths = self.prepare(model, data)
        readers = [member for member in group.members if member.role == "in" and member.parameter in strengths]
        if not readers:
            return GroupNorm()(group, model)
        units = (strengths[member.parameter][:, torch.from_numpy(member.positions)].amax(2) for member in readers)
        frequencies = [kept_by_mass(strength_NU.double(), self.mass).double().mean(0) for strength_NU in units]
        return per_channel(group, [torch.stack(frequencies).mean(0)])


def kept_by_mass(strength_NU: Tensor, mass: float) -> Tensor:
    """The fewest channels of each image, strongest first, that sum up to ``mass`` of its total; never one of zero."""
    falling_NU, order_NU = strength_NU.sort(stable=True, dim=1, descending=True)
    before_NU = falling_NU.cumsum(1) - falling_NU
    kept_NU = (before_NU < mass * falling_NU.sum(1, keepdim=True)) & (falling_NU > 0)
    return torch.zeros_like(kept_NU).scatter(1, order_NU, kept_NU)
