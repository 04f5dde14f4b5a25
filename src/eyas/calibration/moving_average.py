"""The published estimate: an exponential moving average from the dense network's statistics."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from eyas.calibration.base import Calibrator

if TYPE_CHECKING:
    from torch import Tensor, nn


class MovingAverage(Calibrator):
    r"""PyTorch's own update in train mode, not reset first: EagleEye (Li et al. 2020, arXiv:2007.02491).

    :math:`s \leftarrow (1 - m)s + m\,s_t` per batch: the dense statistics keep the weight :math:`(1-m)^T`
    after T batches, and no more than :math:`(2-m)/m` batches are ever averaged: 19 at m = 0.1.

    Use it to repeat the published method.
    """

    kind: Literal["moving_average"] = "moving_average"
    momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Weight of the newest batch."""

    def __call__(self, model: "nn.Module", batches: "Iterable[Tensor]") -> int:
        """Let the statistics follow the batches; see the base for the promise."""
        from eyas.calibration.batchnorm import track_statistics
        from eyas.calibration.update_bn_stats import forward_batches

        with track_statistics(model, self.momentum):
            return forward_batches(model, batches)
