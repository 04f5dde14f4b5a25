"""Filters of zero mean and unit variance while the network learns."""

import copy
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd
from torch.nn.utils import parametrize

from eyas.networks.surgeries.base import Surgery
from eyas.pruning.tracing.normalised_convolutions import normalised_convolutions


class StandardisedFilters(nn.Module):
    """Each filter less its mean, over its unbiased standard deviation."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, weight: Tensor) -> Tensor:
        """Of a weight ``(O, I, ...)``."""
        dims = tuple(range(1, weight.ndim))
        return (weight - weight.mean(dims, keepdim=True)) / (weight.std(dims, keepdim=True) + self.eps)


class WeightStandardisation(Surgery):
    r"""Filters standardised in training, baked in afterwards (Qiao et al. 2019, arXiv:1903.10520, section 3.1).

    Per output :math:`\hat{W} = (W - \mathrm{mean}\,W) / (\mathrm{std}\,W + \epsilon)` over all that it reads, where
    nothing but a normalisation reads the convolution's output. After training the convolution holds
    :math:`\hat{W}`: pruning and export see plain layers, and it costs nothing there.

    Use it where the dense network learns in small batches. It belongs to the training of ``baseline``; fine-tuning goes
    on with plain filters.
    """

    kind: Literal["weight_standardisation"] = "weight_standardisation"
    needs_training: ClassVar[bool] = True
    eps: Annotated[float, Field(gt=0, le=1)] = 1e-5
    """Added to the standard deviation."""

    @property
    def nothing_to_change(self) -> str:
        """See the base."""
        return "finds no convolution that a normalisation alone reads: leave it out"

    def changeable(self, model: nn.Module, example: Tensor) -> list[str]:
        """Convolutions, not transposed, that a normalisation alone reads; filters of several weights."""
        convolutions = normalised_convolutions(model, example)
        return [item.layer for item in convolutions if not item.read_raw and _has_filters(model, item.layer)]

    def apply(self, model: nn.Module) -> nn.Module:
        """See the base; the weight is computed from what stands under ``parametrizations.weight.original``."""
        changed = copy.deepcopy(model)
        for name in self.layers:
            parametrize.register_parametrization(changed.get_submodule(name), "weight", StandardisedFilters(self.eps))
        return changed

    def finish(self, changed: nn.Module) -> nn.Module:
        """Plain convolutions that hold the standardised filters."""
        finished = copy.deepcopy(changed)
        for name in self.layers:
            conv: Any = finished.get_submodule(name)
            weight = nn.Parameter(conv.weight.detach(), conv.parametrizations.weight.original.requires_grad)
            # By hand: torch takes the property off a class that the network in training shares.
            conv.__class__ = parametrize.type_before_parametrizations(conv)
            del conv.parametrizations
            conv.weight = weight
        return finished


def _has_filters(model: nn.Module, layer: str) -> bool:
    conv: Any = model.get_submodule(layer)
    return not isinstance(conv, _ConvTransposeNd) and conv.weight[0].numel() > 1
