"""Statistics between those that the network has and those of the images."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from eyas.calibration.base import Calibrator
from eyas.calibration.pooled import pooled

if TYPE_CHECKING:
    from torch import Tensor, nn

    from eyas.calibration.update_bn_stats import StackedStatistics


class SourceMix(Calibrator):
    r"""The network's own statistics mixed with the pooled ones of the images (Schneider et al. 2020, arXiv:2006.16971).

    :math:`\mu = s\mu_s + (1-s)\mu_t` and :math:`v = s v_s + (1-s) v_t`, s the weight of what the network has: 1 leaves
    all as it was, 0 is ``pooled``. With ``source_images`` :math:`s = N_0 / (N_0 + N)`: the more images there are, the
    less the old statistics count. ``exact`` adds :math:`s(1-s)(\mu_s - \mu_t)^2`, the variance of the mixture.

    Use it to adapt a network to images of another camera or compression, of which there are few. A pruned network that
    has not been calibrated has nothing worth keeping: score candidates with ``pooled``.
    """

    kind: Literal["source_mix"] = "source_mix"
    source_weight: Annotated[float, Field(ge=0, le=1)] = 0.5
    """The s of the mixture; not read where ``source_images`` stand."""
    source_images: Annotated[int, Field(ge=0)] | None = None
    """As many images as the old statistics count for."""
    exact: bool = False
    """Add the spread between both means to the variance."""

    def __call__(self, model: "nn.Module", batches: "Iterable[Tensor]") -> int:
        """Write the mixture; see the base for the promise."""
        from eyas.calibration.update_bn_stats import update_bn_stats

        batches = list(batches)
        images = sum(len(batch) for batch in batches)
        return update_bn_stats(model, batches, lambda stacked: self._mix(stacked, self.weight(images)))

    def weight(self, images: int) -> float:
        """The s of the mixture where there are so many images."""
        if self.source_images is None:
            return self.source_weight
        return self.source_images / max(self.source_images + images, 1)

    def _mix(self, stacked: "StackedStatistics", weight: float) -> "tuple[Tensor, Tensor]":
        (old_mean, old_variance), (mean, variance) = stacked.source, pooled(stacked)
        between = weight * (1 - weight) * (old_mean - mean) ** 2 if self.exact else 0
        return weight * old_mean + (1 - weight) * mean, weight * old_variance + (1 - weight) * variance + between
