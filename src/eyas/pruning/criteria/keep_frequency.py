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

_TINY = torch.finfo(torch.float64).tiny


class KeepFrequency(ImageCriterion):
    r"""Share of images on which pruning by the input would keep a channel (FTWT, arXiv:2110.08232).

    Use it where images differ much in which channels they need, so that a mean over them says little: a channel that
    is decisive for some stays before one that is middling for all. Reads no labels.

    Of each image the channels that a layer reads are kept by falling :math:`\max |x_c|`, until these sum up to
    ``mass`` of all; the frequency is a mean over images and over the layers that read the channel. A group that
    nothing reads by weights is rated by ``group_norm``.
    """

    kind: Literal["keep_frequency"] = "keep_frequency"
    mass: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the summed activation that is kept of each image; without it the mean over all shares, which leaves no
    ties among channels that a single one keeps on every image."""

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
        frequencies = [kept_by_mass(strength_NU.double(), self.mass).mean(0) for strength_NU in units]
        return per_channel(group, [torch.stack(frequencies).mean(0)])


def kept_by_mass(strength_NU: Tensor, mass: float | None) -> Tensor:
    """Whether each channel of each image is kept, 0 or 1: the fewest, strongest first, that sum up to ``mass`` of all.

    Without ``mass`` the share of masses from 0 to 1 at which it is. A channel of strength zero is never kept.
    """
    falling_NU, order_NU = strength_NU.sort(stable=True, dim=1, descending=True)
    stronger_NU = (falling_NU.cumsum(1) - falling_NU) / falling_NU.sum(1, keepdim=True).clamp(min=_TINY)
    kept_NU = 1 - stronger_NU if mass is None else (stronger_NU < mass).to(strength_NU.dtype)
    return torch.zeros_like(strength_NU).scatter(1, order_NU, torch.where(falling_NU > 0, kept_NU, 0))
