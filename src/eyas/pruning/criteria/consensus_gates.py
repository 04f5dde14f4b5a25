"""Which channels images agree on, where each image chooses its own at a budget."""

from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from eyas.pruning.criteria.gate_criterion import GateCriterion
from eyas.pruning.criteria.norms import to_mean_one
from eyas.pruning.gate_training import GateBatch, GateProblem, Gates, Rate, hard
from eyas.pruning.gated_network import GatedNetwork, macs_share

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace


class ConsensusGates(GateCriterion):
    r"""Mean logit of gates that each image opens for itself, trained to agree (arXiv:2302.10798).

    Use it to compare with: on ResNet-20, refitted and trained, it came 2.3 and 2.5 points behind ``weight_activation``
    at 50 and 25 % of the MACs. Needs a network whose layers read one row per image.

    Each group has a linear layer from the mean magnitudes of its channels in the dense network to a logit per channel;
    a channel's gate is open on an image where its logit is positive, and its gradient that of the sigmoid. The loss is
    that of the answers, ``agreement`` times the mean of :math:`\bar g (1 - \bar g)` over channels, :math:`\bar g` the
    share of the images on which a gate is open, and ``macs_weight`` :math:`|F(\bar g) / F_0 - r|`. The paper gives the
    ingredients, the form is ours. The linear layers begin at 0 and the norms of the weights.
    """

    kind: Literal["consensus_gates"] = "consensus_gates"
    target: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Multiply-accumulates r of the open channels, over those of the dense network."""
    agreement: Annotated[float, Field(ge=0)] = 0.1
    """Weight of the disagreement between images."""
    macs_weight: Annotated[float, Field(ge=0)] = 1.0
    """Of the distance from ``target``."""
    learning_rate: Rate = 0.05
    """Of Adam, at first."""

    def gates(self, problem: GateProblem) -> Gates:
        """Open where the weights' norms are."""
        return ImageGates(problem.network, problem.space, problem.norms, self)

    def optimizer(self, gates: Gates) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(gates.parameters(), self.learning_rate)


class ImageGates(Gates):
    """Gates of each image."""

    def __init__(self, network: GatedNetwork, space: "SearchSpace", norms_U: Tensor, options: ConsensusGates) -> None:
        super().__init__()
        self.network, self.space, self.options = network, space, options
        self.bounds = list(pairwise(space.layout.offsets.tolist()))
        order_U = torch.cat([to_mean_one(norms_U[start:stop]) for start, stop in self.bounds])
        self.bias_U = nn.Parameter(1 + 0.1 * order_U)  # apart, so that no two of them close in the same step
        self.weights = nn.ParameterList(
            torch.zeros(stop - start, stop - start, dtype=torch.float64) for start, stop in self.bounds
        )
        self.strength_sum_U, self.images = torch.zeros_like(norms_U), 0

    def forward(self, batch: GateBatch) -> Tensor:
        """Which gates are open on each image, ``(N, U)``."""
        strengths_NU = self.network.strengths(batch.images)
        parts = [strengths_NU[:, start:stop] for start, stop in self.bounds]
        tiny = torch.finfo(torch.float32).tiny
        strengths_NU = torch.cat([part_NU / part_NU.mean().clamp(min=tiny) for part_NU in parts], 1)
        self.strength_sum_U, self.images = self.strength_sum_U + strengths_NU.sum(0), self.images + len(strengths_NU)
        logits_NU = self._logits(strengths_NU)
        return hard(logits_NU.sigmoid(), logits_NU > 0)

    def penalty(self, gates: Tensor) -> Tensor:
        """How far images disagree, and the multiply-accumulates are from the target."""
        off = macs_share(self.space, gates.mean(0)) - self.options.target
        return self.options.agreement * disagreement(gates) + self.options.macs_weight * off.abs()

    def importance(self) -> Tensor:
        """The logits at the mean over all images that were shown."""
        return self._logits(self.strength_sum_U / max(1, self.images))

    def _logits(self, strengths: Tensor) -> Tensor:
        parts = [strengths[..., start:stop] @ w for (start, stop), w in zip(self.bounds, self.weights, strict=True)]
        return torch.cat(parts, -1) + self.bias_U


def disagreement(gates_NU: Tensor) -> Tensor:
    """Mean over units of the share of images that open it times the share that do not: 0 to 1/4."""
    open_U = gates_NU.mean(0)
    return (open_U * (1 - open_U)).mean()
