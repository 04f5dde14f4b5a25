"""Batch-norm given back to a network that was delivered without it."""

from collections import OrderedDict
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from eyas.calibration.batchnorm import evaluation_mode
from eyas.networks.surgeries.base import Surgery
from eyas.pruning.tracing.normalised_convolutions import normalised_convolutions

_BATCH = 128
_NORMS: dict[int, type[_BatchNorm]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class UnfoldBatchNorm(Surgery):
    r"""The inverse of folding: batch-norm behind each convolution, answers as before (arXiv:2305.11624, section 3).

    With :math:`\mu, v` the mean and variance of what a convolution of bias :math:`\beta` makes of calibration images,
    without that bias: statistics :math:`\mu, v`, weight :math:`\sqrt{v + \epsilon}`, bias :math:`\mu + \beta`. Taken
    are convolutions with a bias that no normalisation follows, but for those that make the answers.

    Use it where a checkpoint came without batch-norm (folded for deployment): pruned candidates can then be judged by
    statistics of their own, and a version in the field can follow its images. Folding at export takes it out again.
    """

    kind: Literal["unfold_batch_norm"] = "unfold_batch_norm"
    eps: Annotated[float, Field(gt=0, le=1)] = 1e-5
    """Of the new layers."""
    nothing: ClassVar[str] = "finds no convolution with a bias and without a normalisation behind it: leave it out"

    @property
    def nothing_to_change(self) -> str:
        """See the base."""
        return self.nothing

    def changeable(self, model: nn.Module, example: Tensor) -> list[str]:
        """Convolutions with a bias, neither normalised nor the last."""
        return [
            convolution.layer
            for convolution in normalised_convolutions(model, example)
            if not convolution.normalised and not convolution.answers and _has_bias(model, convolution.layer)
        ]

    def change(self, layer: nn.Module) -> nn.Module:
        """The convolution without its bias, then batch-norm that changes nothing but adds it."""
        conv: Any = layer
        norm = _NORMS[conv.weight.ndim - 2](conv.out_channels, eps=self.eps, dtype=conv.weight.dtype)
        norm = norm.to(conv.weight.device)
        with torch.no_grad():
            norm.weight.fill_((1 + self.eps) ** 0.5)
            norm.bias.copy_(conv.bias)
        conv.bias = None
        return nn.Sequential(OrderedDict(conv=conv, norm=norm))

    @torch.no_grad()
    def measure(self, changed: nn.Module, images: Tensor) -> None:
        """Statistics of every new layer in one pass, since what it reads does not depend on them."""
        norms: list[Any] = [changed.get_submodule(f"{name}.norm") for name in self.layers]
        seen = {norm: _Moments() for norm in norms}
        handles = [norm.register_forward_pre_hook(seen[norm].take) for norm in norms]
        device = norms[0].weight.device
        try:
            with evaluation_mode(changed):
                for batch in torch.split(images, _BATCH):
                    changed(batch.to(device))
        finally:
            for handle in handles:
                handle.remove()
        for norm, moments in seen.items():
            if not moments.count:  # never called: it stays as it is
                continue
            mean, variance = moments.estimate()
            bias = norm.bias - norm.running_mean * norm.weight / (norm.running_var + norm.eps).sqrt()
            norm.bias.copy_(bias + mean)
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)
            norm.weight.copy_((norm.running_var + norm.eps).sqrt())


class _Moments:
    """Mean and biased variance ``(C,)`` of all that a layer reads, in float64, as the calibrators have them."""

    def __init__(self) -> None:
        self.count, self.total, self.squares = 0, torch.zeros(()), torch.zeros(())

    def take(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        rows = inputs[0].double().transpose(0, 1).flatten(1)
        if not self.count:
            self.shift = rows.mean(1)
        rows = rows - self.shift[:, None]
        self.count += rows.shape[1]
        self.total, self.squares = self.total + rows.sum(1), self.squares + rows.square().sum(1)

    def estimate(self) -> tuple[Tensor, Tensor]:
        mean = self.total / self.count
        variance = self.squares / self.count - mean.square()
        return self.shift + mean, variance.clamp(min=0)


def _has_bias(model: nn.Module, layer: str) -> bool:
    return getattr(model.get_submodule(layer), "bias", None) is not None
