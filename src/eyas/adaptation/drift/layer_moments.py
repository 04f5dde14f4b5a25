"""Mean and variance of what reaches each batch-norm layer, and how far two of them are apart.

Shapes: C channels.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eyas.calibration.batchnorm import named_batch_norms
from eyas.errors import DataError


@dataclass(frozen=True)
class LayerMoments:
    """What a batch-norm layer holds, or has seen."""

    mean: Tensor
    variance: Tensor
    """Biased where it was measured."""
    eps: float
    """What the layer adds to a variance."""

    @property
    def deviation(self) -> Tensor:
        """As the layer divides by."""
        return (self.variance + self.eps).sqrt()

    def symmetric_kl(self, other: "LayerMoments") -> float:
        r"""Mean over channels of :math:`KL(p\|q) + KL(q\|p)` between the Gaussians of both.

        :math:`\frac12 (v_p/v_q + v_q/v_p - 2 + (\mu_p - \mu_q)^2 (1/v_p + 1/v_q))`, with ``eps`` in each variance.
        """
        own, others = (moments.deviation.square() for moments in (self, other))
        off = (self.mean - other.mean).square() * (1 / own + 1 / others)
        return float((own / others + others / own - 2 + off).mean() / 2)

    def mean_shift(self, other: "LayerMoments") -> float:
        """Mean over channels of how far the other's mean is, in standard deviations of this one."""
        return float(((other.mean - self.mean).abs() / self.deviation).mean())


Layers = Mapping[str, LayerMoments]


def held_moments(model: nn.Module, statistics: Mapping[str, Tensor] | None = None) -> dict[str, LayerMoments]:
    """What the batch-norm layers hold, by name; none of a network without, or with folded ones.

    Args:
        model: whose layers are asked for.
        statistics: of the network as it left training, as :func:`eyas.deploy.bn_statistics.bn_statistics` gives them;
            without them the model's own.

    Raises:
        DataError: the statistics are not this network's, not finite, or a variance is negative.
    """
    layers = {}
    for name, layer in named_batch_norms(model).items():
        if statistics is None:
            mean, variance = layer.running_mean, layer.running_var
        else:
            mean, variance = (statistics.get(f"{name}.{part}") for part in ("mean", "var"))
        if mean is None or variance is None:
            msg = f"`statistics` hold nothing of {name}: give the bundle that was written with this network"
            raise DataError(msg)
        moments = LayerMoments(mean.detach().cpu().double(), variance.detach().cpu().double(), layer.eps)
        require_moments(name, moments, layer.num_features)
        layers[name] = moments
    return layers


def require_moments(name: str, moments: LayerMoments, channels: int | None = None) -> None:
    """Refuse statistics that no images could have made, or that belong to a layer of another width.

    Raises:
        DataError: names the layer.
    """
    shapes = {tuple(moments.mean.shape), tuple(moments.variance.shape)}
    expected = moments.mean.numel() if channels is None else channels
    if shapes != {(expected,)}:
        msg = f"the statistics of {name} have shapes {sorted(shapes)}: the layer has {expected} channels"
        raise DataError(msg)
    if not all(map(math.isfinite, (*moments.mean.tolist(), *moments.variance.tolist()))):
        msg = f"the statistics of {name} are not finite: calibrate the network again"
        raise DataError(msg)
    if bool((moments.variance < 0).any()):
        msg = f"{name} has a variance of {float(moments.variance.min()):g}: no images have that, calibrate again"
        raise DataError(msg)


class MomentSum:
    """Gathers what a layer sees, image by image, as offsets from the mean that it holds."""

    def __init__(self, held: LayerMoments) -> None:
        self.held, self.images = held, 0
        self.offsets, self.squares = torch.zeros_like(held.mean), torch.zeros_like(held.mean)

    def add(self, values_NCL: Tensor) -> Tensor:
        """Count a batch in; returns how far each image's channel means are, squared, in variances, ``(N,)``."""
        offsets = values_NCL - self.held.mean.to(values_NCL)[:, None]
        mean_NC = offsets.mean(2).cpu().double()
        square_NC = torch.linalg.vector_norm(offsets, dim=2).cpu().double().square() / offsets.shape[2]
        self.images += len(mean_NC)
        self.offsets = self.offsets + mean_NC.sum(0)
        self.squares = self.squares + square_NC.sum(0)
        return (mean_NC / self.held.deviation).square().mean(1)

    def moments(self) -> LayerMoments:
        """Mean and biased variance over all images and places."""
        offset = self.offsets / self.images
        variance = (self.squares / self.images - offset.square()).clamp_min(0)
        return LayerMoments(self.held.mean + offset, variance, self.held.eps)
