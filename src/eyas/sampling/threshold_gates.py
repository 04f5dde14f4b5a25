"""One threshold per group, learned by gradient under a limit of costs, while the network's weights stay as they are.

Shapes: U units of all groups in order, G channel groups in the order of ``space.groups``.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from eyas.pruning.calibration_set import CalibrationSet
from eyas.pruning.criteria.bn_scale import BnScale
from eyas.pruning.criteria.norms import to_mean_one
from eyas.pruning.gate_training import GateBatch, Gates, GateTraining, hard
from eyas.pruning.gated_network import GatedNetwork, Metric, cost_share
from eyas.pruning.planner import Planner, rating
from eyas.sampling.placement import Placement
from eyas.sampling.width_trajectory import WidthTrajectory

if TYPE_CHECKING:
    from eyas.pruning.groups import ChannelGroup
    from eyas.pruning.space import SearchSpace
    from eyas.sampling.samplers.learned_thresholds import LearnedThresholdsSampler

_CLOSED_FORM: dict[str, Metric] = {
    "macs": "macs",
    "params": "params",
    "activation_bytes": "activation_bytes",
    "file_bytes": "params",
    "latency_ms": "macs",
}
"""The cost with a gradient that is, or stands in for, what a budget limits."""
_ALIKE = 1e-6  # ratings of a group that differ by less, as a share of their mean, tell nothing


class ThresholdGates(Gates):
    r"""Gates :math:`m_c = [q_c > t_l]` with the gradient of :math:`\sigma(k (q_c - t_l))`.

    Args:
        space: the search space.
        ratings: q of each unit, ``(U,)``.
        always: units whose gate does not move, ``(U,)``.
        opened: which of these are open, ``(U,)``.
        limits: what each cost is to come to, as a share of the dense network's.
        options: how thresholds are learned.
    """

    def __init__(
        self,
        space: "SearchSpace",
        ratings: Tensor,
        *,
        always: Tensor,
        opened: Tensor,
        limits: Mapping[Metric, float],
        options: "LearnedThresholdsSampler",
    ) -> None:
        super().__init__()
        self.space, self.ratings_U, self.limits, self.options = space, ratings, limits, options
        self.always_U, self.opened_U = always, opened
        self.bounds = list(pairwise(space.layout.offsets.tolist()))
        self.group_U = torch.repeat_interleave(torch.tensor([stop - start for start, stop in self.bounds]))
        self.highest_G = torch.stack([ratings[start:stop].max() for start, stop in self.bounds])
        lowest_G = torch.stack([ratings[start:stop].min() for start, stop in self.bounds])
        self.thresholds_G = nn.Parameter(lowest_G - 0.5 / options.steepness)  # every channel is open
        self.progress = 0.0
        self.trajectory: list[tuple[float, tuple[int, ...]]] = []

    def forward(self, batch: GateBatch) -> Tensor:
        """Which channels are open, ``(U,)``."""
        self.progress = batch.progress
        self.trajectory.append((batch.progress, self.widths()))
        with torch.no_grad():  # beyond the highest rating there is nothing to learn, and a long way back
            self.thresholds_G.clamp_(max=self.highest_G)
        above_U = self.ratings_U - self.thresholds_G[self.group_U]
        moving_U = hard((self.options.steepness * above_U).sigmoid(), above_U > 0)
        return torch.where(self.always_U, self.opened_U.to(moving_U), moving_U)

    def penalty(self, gates: Tensor) -> Tensor:
        """The squared excess over each limit, which falls to that of the budget."""
        total, done = gates.new_zeros(()), min(1.0, self.progress / self.options.annealed)
        for metric, limit in self.limits.items():
            excess = cost_share(self.space, gates, metric) - (1 - (1 - limit) * done)
            total = total + excess.clamp(min=0).square()
        return self.options.cost_weight * total

    @torch.no_grad()
    def widths(self) -> tuple[int, ...]:
        """Channels that are open, ``(G,)``."""
        open_U = torch.where(self.always_U, self.opened_U, self.ratings_U > self.thresholds_G[self.group_U])
        steps = [group.step for group in self.space.groups]
        counts = [int(open_U[start:stop].sum()) for start, stop in self.bounds]
        return tuple(count * step for count, step in zip(counts, steps, strict=True))


def learn_widths(
    model: nn.Module,
    placement: Placement,
    planner: Planner,
    data: CalibrationSet,
    options: "LearnedThresholdsSampler",
) -> WidthTrajectory:
    """Learn a threshold per group on a copy of a network, and read widths at the end and on the way there.

    A group that no layer reads stays as wide as uniform widths have it, for nothing tells what it is worth.

    Args:
        model: the dense network, on any device; not changed.
        placement: its search space, and the budget.
        planner: which channels stay at a width: the best rated ones are those that it names first.
        data: images, and labels where the training reads them.
        options: how thresholds are learned, how long, on how many images.

    Raises:
        DataError: the answers are no classes, the labels do not fit them, or there are no gradients.
    """
    space = placement.space
    training = GateTraining(
        options.steps, options.batch_size, options.seed, options.labels, instead="sampler evolution"
    )
    with torch.inference_mode(mode=False), torch.enable_grad():
        network = GatedNetwork(model, space)
        data = data.first(options.images)
        batches = training.batches(network, model, data)
        next(batches)  # which shows what layers read
        gates = threshold_gates(network, model, placement, planner, options)
        optimizer = torch.optim.Adam(gates.parameters(), options.learning_rate)
        if network.gated:
            training.train(network, model, gates, optimizer, batches, output=data.output)
    settled = [widths for progress, widths in gates.trajectory if progress >= options.annealed]
    settled.append(gates.widths())
    chosen = np.unique(np.rint(np.linspace(0, len(settled) - 1, options.points)).astype(int))
    points = [settled[at] for at in chosen[::-1]]
    dense = [group.channels for group in space.groups]
    return WidthTrajectory.from_json({"dense": dense, "widths": list(dict.fromkeys(points))})


def threshold_gates(
    network: GatedNetwork, model: nn.Module, placement: Placement, planner: Planner, options: "LearnedThresholdsSampler"
) -> ThresholdGates:
    """Gates that are all open, of a network that has seen images; the least widths of a space stay open."""
    space, units = placement.space, network.units
    read_U = torch.zeros(units, dtype=torch.bool)
    for place in network.gated:
        read_U[network.entries[place][network.entries[place] >= 0]] = True
    uniform_G = placement.widths(placement.uniform(placement.uniform_share())[None])[0].tolist()
    ratings, always, opened = [], [], []
    bounds = pairwise(space.layout.offsets.tolist())
    for group, ranking, (start, stop), uniform in zip(space.groups, planner.rankings, bounds, uniform_G, strict=True):
        order = torch.from_numpy(np.ascontiguousarray(ranking))
        rank_U = torch.empty(len(order), dtype=torch.int64).index_copy_(0, order, torch.arange(len(order)))
        learned = bool(read_U[start:stop].any())
        least = int(space.legal_widths(group)[0]) if learned else uniform
        opened.append(rank_U < least // group.step)
        always.append(opened[-1] if learned else torch.ones_like(opened[-1]))
        ratings.append(_falling_ratings(model, group)[rank_U])
    return ThresholdGates(
        space,
        torch.cat(ratings),
        always=torch.cat(always),
        opened=torch.cat(opened),
        limits=limits_of(placement),
        options=options,
    )


def limits_of(placement: Placement) -> dict[Metric, float]:
    """What each cost is to come to, as a share of the dense network's.

    Milliseconds and the size of the file have no gradient: in their place stand the multiply-accumulates, and the
    parameters, of uniform widths at the budget.
    """
    space, budget, dense = placement.space, placement.budget, placement.space.cost()
    uniform = space.costs(placement.widths(placement.uniform(placement.uniform_share())[None]))
    limits: dict[Metric, float] = {}
    for limit in budget.limits:
        metric = _CLOSED_FORM[limit.metric]
        wanted = limit.target if metric == limit.metric else float(getattr(uniform, metric)[0])
        share = wanted / getattr(dense, metric)
        limits[metric] = min(share, limits.get(metric, 1.0))
    return limits


def _falling_ratings(model: nn.Module, group: "ChannelGroup") -> Tensor:
    """Scales of batch-norm over their mean, falling; norms of filters without, even steps where all are alike."""
    per_unit = np.bincount(group.unit_of_channel, weights=rating(BnScale(), group, model, None)) / group.step
    ratings_U = to_mean_one(torch.from_numpy(per_unit)).sort(descending=True)[0]
    if float(ratings_U[0] - ratings_U[-1]) <= _ALIKE * float(ratings_U.mean()):
        return 2 - (2 * torch.arange(len(per_unit), dtype=torch.float64) + 1) / len(per_unit)
    return ratings_U
