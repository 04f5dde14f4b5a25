"""The average of per-batch statistics, larger batches counting for more."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from eyas.calibration.base import Calibrator

if TYPE_CHECKING:
    from torch import Tensor, nn

    from eyas.calibration.update_bn_stats import StackedStatistics


class ImageWeighted(Calibrator):
    r"""Average of batch means and biased batch variances by numbers of images (Cai et al. 2020, arXiv:1908.09791).

    :math:`\mu = \sum n_t\mu_t / \sum n_t` and :math:`v = \sum n_t v_t / \sum n_t` with biased :math:`v_t`: how
    Once-for-All calibrates its sub-networks. The mean is that of ``pooled``; the variance misses the spread of the
    batch means.

    Use it to compare with networks that were calibrated so; ``pooled`` is the better estimate at the same cost.
    """

    kind: Literal["image_weighted"] = "image_weighted"

    def __call__(self, model: "nn.Module", batches: "Iterable[Tensor]") -> int:
        """Write the averages; see the base for the promise."""
        from eyas.calibration.update_bn_stats import update_bn_stats

        return update_bn_stats(model, batches, _image_weighted)


def _image_weighted(stacked: "StackedStatistics") -> "tuple[Tensor, Tensor]":
    """Mean and biased variance ``(S,)`` of S channels."""
    counts, total = stacked.counts, stacked.counts.sum(0)
    return (counts * stacked.means).sum(0) / total, ((counts - 1) * stacked.variances).sum(0) / total
