"""Instance normalisation for a part of the channels, batch-norm for the others."""

from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from eyas.errors import ParameterError
from eyas.networks.surgeries.base import Surgery
from eyas.pruning.tracing.block_norms import block_norms

_INSTANCE: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: nn.InstanceNorm1d,
    nn.BatchNorm2d: nn.InstanceNorm2d,
    nn.BatchNorm3d: nn.InstanceNorm3d,
}


class InstanceBatchNorm(nn.Module):
    """The first channels normalised per image, the others by batch-norm; either part may lose channels alone."""

    splits_by_its_layers: ClassVar[bool] = True
    """The tracer's word that the split follows ``num_features`` of both layers."""

    def __init__(self, instance: nn.Module, batch: nn.Module) -> None:
        super().__init__()
        self.instance, self.batch = instance, batch

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of ``x`` ``(N, C, ...)``."""
        sizes: list[Any] = [self.instance.num_features, self.batch.num_features]
        first, rest = torch.split(x, sizes, dim=1)
        return torch.cat([self.instance(first), self.batch(rest)], dim=1)


class Ibn(Surgery):
    """IBN-a: contrast and style of an image taken out of shallow features (Pan et al. 2018, arXiv:1807.09441).

    In the first batch-norm of each residual block, but not in blocks of the last resolution, a share of the channels
    is normalised per image instead; both parts keep the weights that they had, and are pruned as groups of their own.
    Statistics per image stay a reduction at run time, also in the exported file (InstanceNormalization in ONNX).

    Use it before the dense network is trained, where the device will see light, colour and contrast that the training
    images do not have, and no images of it are at hand.
    """

    kind: Literal["ibn"] = "ibn"
    needs_training: ClassVar[bool] = True
    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Of the channels that are normalised per image, rounded down."""

    @property
    def nothing_to_change(self) -> str:
        """See the base."""
        return "finds no batch-norm in a residual block: name layers with batch-norm that see more than one position"

    def changeable(self, model: nn.Module, example: Tensor) -> list[str]:
        """Batch-norm with weights over more than one position."""
        every = block_norms(model, example).every
        return [name for name in every if type(layer := model.get_submodule(name)) in _INSTANCE and layer.affine]

    def usual(self, model: nn.Module, example: Tensor) -> list[str]:
        """The first of each residual block."""
        return list(block_norms(model, example).first)

    def choose(self, model: nn.Module, example: Tensor) -> Self:
        """See the base.

        Raises:
            ParameterError: of no layer a share is a channel.
        """
        chosen = super().choose(model, example)
        widths: list[Any] = [model.get_submodule(name).num_features for name in chosen.layers]
        if not any(int(self.share * width) for width in widths):
            msg = f"`surgeries`: share {self.share:g} of ibn is no channel of any layer: the widest has {max(widths)}"
            raise ParameterError(msg)
        return chosen

    def change(self, layer: nn.Module) -> nn.Module:
        """Both parts with the weights that they had."""
        old: Any = layer
        count = int(self.share * old.num_features)
        if not count:
            return layer
        like = {"device": old.weight.device, "dtype": old.weight.dtype}
        instance: Any = _INSTANCE[type(layer)](count, eps=old.eps, affine=True, **like)
        batch: Any = type(layer)(old.num_features - count, eps=old.eps, momentum=old.momentum, **like)
        with torch.no_grad():
            for name in ("weight", "bias"):
                getattr(instance, name).copy_(getattr(old, name)[:count])
            for name in ("weight", "bias", "running_mean", "running_var"):
                getattr(batch, name).copy_(getattr(old, name)[count:])
        return InstanceBatchNorm(instance, batch) if count < old.num_features else instance
