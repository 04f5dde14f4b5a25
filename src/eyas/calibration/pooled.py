"""Population statistics, merged over batches: the default."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from eyas.calibration.base import Calibrator

if TYPE_CHECKING:
    from torch import Tensor, nn

    from eyas.calibration.update_bn_stats import StackedStatistics


class Pooled(Calibrator):
    r"""Mean and variance over all calibration images, as if they were one batch.

    With :math:`n_t` values per channel in batch :math:`t`: :math:`\mu = \sum n_t\mu_t / \sum n_t` and
    :math:`v = \sum n_t (v_t + (\mu_t - \mu)^2) / \sum n_t` with biased :math:`v_t` (Chan et al. 1979).
    Exact for what the layer saw; deeper layers see inputs normalised per batch, so the batch size is part of
    the estimate.

    Use it for candidates and winners alike: exact for a fixed set of images in one pass.
    """

    kind: Literal["pooled"] = "pooled"

    def __call__(self, model: "nn.Module", batches: "Iterable[Tensor]") -> int:
        """Write the pooled statistics; see the base for the promise."""
        from eyas.calibration.update_bn_stats import update_bn_stats

        return update_bn_stats(model, batches, pooled)


def pooled(stacked: "StackedStatistics") -> "tuple[Tensor, Tensor]":
    """Mean and biased variance ``(S,)`` of S channels."""
    means, counts = stacked.means, stacked.counts
    total = counts.sum(0)
    mean = (counts * means).sum(0) / total
    within, between = (counts - 1) * stacked.variances, counts * (means - mean) ** 2
    return mean, (within + between).sum(0) / total
