"""The plain average of per-batch statistics, after a reset."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from eyas.calibration.base import Calibrator

if TYPE_CHECKING:
    from torch import Tensor, nn


class Cumulative(Calibrator):
    """Average of batch means and of unbiased batch variances, all alike (PyTorch's ``momentum=None``).

    What ``torch.optim.swa_utils.update_bn`` (Izmailov et al. 2018, arXiv:1803.05407) and AttentiveNAS (Wang et al.
    2021, arXiv:2011.09011) do, but with dropout and the like left in eval mode. Misses the spread of the batch means,
    so its variance is biased low; ``pooled`` does not.

    Use it to compare with networks that were calibrated so.
    """

    kind: Literal["cumulative"] = "cumulative"

    def __call__(self, model: "nn.Module", batches: "Iterable[Tensor]") -> int:
        """Write the averages; see the base for the promise."""
        from eyas.calibration.update_bn_stats import update_bn_stats

        return update_bn_stats(model, batches, lambda stacked: (stacked.means.mean(0), stacked.variances.mean(0)))
