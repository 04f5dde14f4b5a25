"""The weights that read a channel, times how strongly it is active on calibration images."""

import logging
from typing import TYPE_CHECKING, Any, Literal

from eyas.pruning.calibration_set import CalibrationSet
from eyas.pruning.criteria.group_norm import GroupNorm
from eyas.pruning.criteria.image_criterion import ImageCriterion
from eyas.pruning.criteria.norms import channels_first, group_norm_of, per_channel, to_mean_one
from eyas.pruning.groups import ChannelGroup, Member

if TYPE_CHECKING:
    from torch import Tensor, nn

    from eyas.pruning.activations import Activations, LayerActivations

_log = logging.getLogger(__name__)


class WeightActivation(ImageCriterion):
    r"""What the layers that read a channel receive from it: norm of their weights times its activation; no labels.

    Use it first: the default, ahead of the norms wherever these were measured; one pass over the images.

    The product that Wanda (Sun et al. 2023, arXiv:2306.11695, equation 1) takes per weight, carried over to coupled
    channels: :math:`s_c = \sum_r \|W_r[:, c]\|_2\, a_{r,c} / \mathrm{mean}_{c'}(\ldots)` over all layers r that read
    the channel, :math:`a_{r,c}` its root mean square at the input of r in the dense network. Where a unit of the group
    is read at several places (channels of one group of a convolution, pixels of a flattened map), squares are summed.
    Without images the weights of all members decide, as ``group_norm`` has it.
    """

    kind: Literal["weight_activation"] = "weight_activation"
    activation: Literal["rms", "mean", "std"] = "std"
    """Root mean square, mean magnitude, or standard deviation (what recalibrated statistics cannot make up for)."""
    normalise: Literal["layer", "output", "none"] = "layer"
    """Every reading layer to mean 1; every channel it makes to variance 1, as batch-norm will; or nothing."""
    producers: bool = False
    """Add the norms of the filters that make a channel, each layer normalised to mean 1."""

    def without_images(self) -> "Activations":
        """Nothing: the weights of all members decide."""
        _log.warning("criterion %s has no calibration images: the weights of all members decide", self.kind)
        return {}

    def observe(self, model: "nn.Module", data: CalibrationSet) -> "Activations":
        """The activations of all layers, in one pass over the images."""
        from eyas.pruning.activations import record_activations

        return record_activations(model, data.images)

    def __call__(self, group: ChannelGroup, model: "nn.Module", data: Any = None) -> "Tensor":
        """Importance of each channel, shape ``(group.channels,)``; ``data`` are images, or what ``prepare`` gave."""
        activations = self.prepare(model, data)
        readers = [member for member in group.members if member.role == "in"]
        if not readers or not activations:
            return GroupNorm()(group, model)
        ratings = [self._energy(model, member, activations.get(member.parameter)).sqrt() for member in readers]
        importance_C = per_channel(group, map(to_mean_one, ratings) if self.normalise == "layer" else ratings)
        return importance_C + group_norm_of(group, model, order=2) if self.producers else importance_C

    def _energy(self, model: "nn.Module", member: Member, layer: "LayerActivations | None") -> "Tensor":
        """Mean square of what a layer receives from each unit, ``(units,)``; of its weights where no call was seen."""
        import torch

        weight_IO = channels_first(model, member)
        squares_IO = weight_IO.to("cpu", torch.float64).reshape(*weight_IO.shape[:2], -1).square().sum(2)
        if layer is None:
            _log.warning("no layer was called with %s as its weight: its values alone count", member.parameter)
            return squares_IO.sum(1)[torch.from_numpy(member.positions)].sum(1)
        if self.normalise == "output":
            squares_IO = squares_IO / layer.outputs.std().square().clamp(min=torch.finfo(torch.float32).tiny)
        energy_I = squares_IO.sum(1) * getattr(layer.inputs, self.activation)().square()
        return energy_I[torch.from_numpy(member.positions)].sum(1)  # type: ignore[no-any-return]
