"""A moving average between the plain average and PyTorch's own."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from eyas.calibration.base import Calibrator

if TYPE_CHECKING:
    from torch import Tensor, nn

    from eyas.calibration.update_bn_stats import StackedStatistics


class KappaSchedule(Calibrator):
    r"""The momentum schedule of AdaB2N (Lyu et al. 2023, arXiv:2310.08855), from the dense network's statistics.

    :math:`s \leftarrow s + \eta_t (s_t - s)` with :math:`\eta_1 = m^\kappa` and
    :math:`\eta_t = \eta_{t-1} / (\eta_{t-1} + (1 - m)^\kappa)`; variances are unbiased. At :math:`\kappa = 1` that is
    ``moving_average``, at 0 ``cumulative``. It ends at a window of :math:`1 / (1 - (1 - m)^\kappa)` batches.

    Use it where batches drift, as the images of a stream do, and the last ones should count for more; for a fixed
    set of images ``pooled`` is exact.
    """

    kind: Literal["kappa_schedule"] = "kappa_schedule"
    momentum: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """The m of the schedule."""
    kappa: Annotated[float, Field(ge=0, le=1)] = 0.4
    """0: all batches alike; 1: an exponential moving average."""

    def __call__(self, model: "nn.Module", batches: "Iterable[Tensor]") -> int:
        """Write where the schedule ends; see the base for the promise."""
        from eyas.calibration.update_bn_stats import update_bn_stats

        return update_bn_stats(model, batches, self._average)

    def weights(self, count: int) -> "tuple[float, Tensor]":
        """What is left of the source after ``count`` batches, and the weight of each, ``(T,)``; they add up to 1."""
        import torch

        step, source, weights = self.momentum**self.kappa, 1.0, torch.zeros(count, dtype=torch.float64)
        for batch in range(count):
            source, weights = source * (1 - step), weights * (1 - step)
            weights[batch] = step
            step = self.next_step(step)
        return source, weights

    def next_step(self, step: float) -> float:
        r""":math:`\eta_t` after :math:`\eta_{t-1}`."""
        after: float = step / (step + (1 - self.momentum) ** self.kappa)
        return after

    def _average(self, stacked: "StackedStatistics") -> "tuple[Tensor, Tensor]":
        source, weights_T = self.weights(len(stacked.means))
        weights_T1 = weights_T.to(stacked.means.device)[:, None]
        old_mean, old_variance = stacked.source
        mean = source * old_mean + (weights_T1 * stacked.means).sum(0)
        return mean, source * old_variance + (weights_T1 * stacked.variances).sum(0)
