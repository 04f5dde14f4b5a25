"""Statistics that follow a stream by a schedule of momenta."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from eyas.adaptation.adapters.adaptation import Adaptation
from eyas.adaptation.adapters.base import Adapter
from eyas.adaptation.adapters.layer_statistics import StatisticsAdaptation
from eyas.calibration.kappa_schedule import KappaSchedule


class AdaB2n(Adapter):
    r"""The momentum schedule of AdaB2N (Lyu et al. 2023, arXiv:2310.08855), from the network's own statistics.

    :math:`s \leftarrow s + \eta_t (s_t - s)` with :math:`\eta_1 = m^\kappa` and
    :math:`\eta_t = \eta_{t-1} / (\eta_{t-1} + (1 - m)^\kappa)` over batches t; variances are unbiased. It ends at a
    window of :math:`1 / (1 - (1 - m)^\kappa)` batches. Of AdaB2N this is what needs no tasks, labels or replay.

    Use it for a stream that goes on changing: what was seen long ago stops counting. For a fixed set of images
    ``alpha_bn`` weighs them all alike.
    """

    kind: Literal["ada_b2n"] = "ada_b2n"
    min_batch: ClassVar[int] = 2
    momentum: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """The m of the schedule."""
    kappa: Annotated[float, Field(ge=0, le=1)] = 0.4
    """0: all batches alike; 1: an exponential moving average."""

    def start(self, model: nn.Module, source: Tensor | None) -> Adaptation:
        """See the base for the promise."""
        return _Scheduled(self, model)


class _Scheduled(StatisticsAdaptation):
    """A layer's next step is remembered beside its statistics: a counter of its own, not the checkpoint's."""

    adapter: AdaB2n

    def __init__(self, adapter: AdaB2n, model: nn.Module) -> None:
        super().__init__(adapter, model)
        self.schedule = KappaSchedule(momentum=adapter.momentum, kappa=adapter.kappa)
        for name in self.layers:
            self.memory[f"{name}.step"] = torch.tensor(adapter.momentum**adapter.kappa, dtype=torch.float64)

    def estimate(self, name: str, count: int, mean_C: Tensor, variance_C: Tensor) -> tuple[Tensor, Tensor]:
        mean, variance, step = (self.memory[f"{name}.{part}"] for part in ("source_mean", "source_var", "step"))
        share = float(step)
        mean += share * (mean_C - mean)
        variance += share * (variance_C * count / max(count - 1, 1) - variance)
        step.fill_(self.schedule.next_step(share))
        return mean, variance
