"""How likely a channel is kept where channels are drawn at a budget."""

from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from eyas.pruning.criteria.gate_criterion import GateCriterion
from eyas.pruning.gate_training import GateBatch, GateProblem, Gates, Rate, hard
from eyas.pruning.gated_network import macs_share

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace


class GumbelGates(GateCriterion):
    r"""Log odds of keeping a channel, learned by drawing which are kept (KDFS, Lin et al. 2023, arXiv:2307.00198).

    Use it to compare with: on ResNet-20, refitted and trained, it came 0.9 and 2.3 points behind ``weight_activation``
    at 50 and 25 % of the MACs. Of a small network each channel is a large share: lower ``macs_weight`` there.

    In each step a channel is kept with probability :math:`\sigma(a)`: by the hard Gumbel-softmax of the two logits
    (0, a), whose gradient is that of the soft one at a temperature that falls from 1 to 0.1. The loss is that of the
    answers and ``macs_weight`` :math:`(F / F_0 - r)^2`, F the multiply-accumulates of the channels that were drawn. The
    importance is a. Not the paper's: the weights are the dense network's and frozen, masks act behind batch-norm,
    features are not distilled.
    """

    kind: Literal["gumbel_gates"] = "gumbel_gates"
    target: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Multiply-accumulates r of the channels that are drawn, over those of the dense network."""
    macs_weight: Annotated[float, Field(ge=0)] = 10.0
    """Of the squared distance from ``target``."""
    learning_rate: Rate = 0.1
    """Of Adamax, at first."""

    def gates(self, problem: GateProblem) -> Gates:
        """Log odds of 3: nineteen channels of twenty are drawn."""
        return DrawnGates(problem.space, problem.weight_order(), self.target, self.macs_weight)

    def optimizer(self, gates: Gates) -> torch.optim.Optimizer:
        """Adamax."""
        return torch.optim.Adamax(gates.parameters(), self.learning_rate)


class DrawnGates(Gates):
    """Gates of 0 and 1, drawn anew in each step."""

    def __init__(self, space: "SearchSpace", order: Tensor, target: float, macs_weight: float) -> None:
        super().__init__()
        self.log_odds_U = nn.Parameter(torch.full((len(order),), 3.0, dtype=torch.float64))
        self.space, self.order, self.target, self.macs_weight = space, order, target, macs_weight

    def forward(self, batch: GateBatch) -> Tensor:
        """Which channels are kept, ``(U,)``."""
        uniform_U = torch.rand(len(self.order), generator=batch.generator, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
        # The difference of two Gumbel variables is logistic; each unit has its own, wherever it stands.
        noise_U = torch.empty_like(uniform_U).index_copy_(0, self.order, uniform_U.logit())
        drawn_U = self.log_odds_U + noise_U
        return hard((drawn_U / 0.1**batch.progress).sigmoid(), drawn_U > 0)

    def penalty(self, gates: Tensor) -> Tensor:
        """The squared distance of the multiply-accumulates from the target."""
        return self.macs_weight * (macs_share(self.space, gates) - self.target).square()

    def importance(self) -> Tensor:
        """The log odds."""
        return self.log_odds_U
