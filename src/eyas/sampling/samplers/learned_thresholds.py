"""Widths of one learned threshold per group, and what lies around them."""

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from eyas.errors import DataError, ParameterError
from eyas.sampling.placement import Placement, Positions
from eyas.sampling.samplers.base import Sampler
from eyas.sampling.samplers.random_widths import BudgetSampler, DistinctRows, scored_widths

if TYPE_CHECKING:
    from torch import Tensor, nn

    from eyas.pruning.planner import Planner
    from eyas.pruning.space import SearchSpace
    from eyas.sampling.budget import Budget
    from eyas.sampling.search_history import SearchHistory
    from eyas.sampling.width_trajectory import WidthTrajectory

_EMPTY_BLOCKS = 4  # blocks in a row that brought nothing new
_FEWEST = 64  # drawn at once
_NARROWEST = 0.02  # share of the widths between floor and all channels that can still be scaled


class LearnedThresholdsSampler(Sampler):
    r"""Widths by one threshold per group, learned by gradient under the budget (LAPP, arXiv:2309.14157).

    A channel of group l is open where its rating :math:`q_c` is above the threshold :math:`t_l`, with the gradient of
    :math:`\sigma(k (q_c - t_l))`. The loss is that of the answers and ``cost_weight``
    :math:`\max(0, F / F_0 - r)^2` of each limit, r falling from 1 to the budget. Ratings are the batch-norm scales of a
    group over their mean (norms of filters without batch-norm), given out in the order in which the criterion keeps
    channels. Milliseconds and bytes of the file have no gradient: multiply-accumulates and parameters of uniform widths
    stand in for them. Uniform widths come first, then those learned, those of earlier points of the training, and
    random ones around all of these, each moved onto the budget from where the training left it.

    From the abstract alone, so that every constant is a choice of ours. Not the paper's: the weights are the dense
    network's and frozen, so that nothing is taken out on the way, and there is no bypass, which serves a training from
    scratch.

    Use it to compare with: on ResNet-20 at half of the MACs what it learned scored below the optimum of
    ``distortion_dp`` (docs/experiments.md). Answers have to be classes, and gradients to be had.
    """

    why_few = (
        "the widths that were learned lead to the same ones again and again; a larger spread finds more, unless "
        "`round_to`, `min_width` and `tolerance` leave no more"
    )
    trains = True

    kind: Literal["learned_thresholds"] = "learned_thresholds"
    floor: Annotated[float, Field(ge=0, lt=1)] = 0.4
    """No group keeps less than this share of what uniform widths would keep."""
    spread: Annotated[float, Field(gt=0, le=10)] = 0.1
    """Standard deviation of a random change, as a share of the widths between the floor and all channels."""
    labels: bool = False
    """Read the labels of the calibration images; else the answers of the dense network are the targets."""
    images: Annotated[int, Field(ge=1)] = 512
    """At most so many calibration images."""
    steps: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Of the training; the rate falls to 0 by a cosine."""
    batch_size: Annotated[int, Field(ge=1)] = 64
    """Images per step."""
    learning_rate: Annotated[float, Field(gt=0, le=1e3)] = 0.02
    """Of Adam, at first."""
    cost_weight: Annotated[float, Field(gt=0, le=1e6)] = 3.0
    """Of the squared excess over the limits; a heavier one ends nearer to them, with less regard to the answers."""
    steepness: Annotated[float, Field(gt=0, le=1e3)] = 5.0
    """The slope k of the sigmoid."""
    annealed: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of the steps in which the limits fall to the budget."""
    points: Annotated[int, Field(ge=2, le=1000)] = 8
    """Of the training behind them that are kept, the last one with them."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the images of each step."""

    @property
    def needs_table(self) -> bool:
        """See the base."""
        return True

    @property
    def reads_labels(self) -> bool:
        """As ``labels`` says."""
        return self.labels

    def measure(
        self,
        model: "nn.Module",
        space: "SearchSpace",
        planner: "Planner",
        images: "Tensor",
        *,
        labels: "Tensor | None" = None,
        budget: "Budget | None" = None,
        output: int | str | None = None,
    ) -> "WidthTrajectory":
        """See the base: train the thresholds on a copy of the network.

        Raises:
            ParameterError: there is no budget.
            BudgetError: it is out of reach.
            DataError: there are no labels where these are read, they do not fit the answers, or the network has no
                classes or no gradients.
        """
        from eyas.pruning.calibration_set import CalibrationSet
        from eyas.sampling.threshold_gates import learn_widths

        if budget is None:
            raise ParameterError(f"sampler {self.kind!r} learns widths for a budget: give it as `budget`")
        if self.labels and labels is None:
            msg = f"sampler {self.kind} with labels: true has none of the calibration images: leave labels: true out"
            raise DataError(msg)
        placement = Placement(space, budget)
        placement.check_reachable()
        data = CalibrationSet(images, labels if self.labels else None, output)
        return learn_widths(model, placement, planner, data, self)

    def read_measured(self, content: object) -> "WidthTrajectory":
        """See the base."""
        from eyas.sampling.width_trajectory import WidthTrajectory

        return WidthTrajectory.from_json(content)

    def ask(
        self,
        space: "SearchSpace",
        budget: "Budget",
        count: int,
        *,
        seed: int,
        history: "SearchHistory | None" = None,
        table: "WidthTrajectory | None" = None,
    ) -> NDArray[np.int64]:
        """See the base.

        Raises:
            ParameterError: there is no ``table``.
        """
        if table is None:
            msg = f"sampler {self.kind!r} proposes widths that it has learned: give it the table that it measures"
            raise ParameterError(msg)
        placement = Placement(space, budget)
        placement.check_reachable()
        scored = scored_widths(history, len(space.groups))
        rng, rows = np.random.default_rng([seed, len(scored)]), DistinctRows(placement, scored)
        floor = placement.floor(self.floor * placement.uniform_share())
        rows.add(placement.uniform_in_band(rng))
        learned_TG, empty_blocks = table.shares(placement, floor), 0
        for learned_G in learned_TG:  # one by one: the last point of the training comes first
            rows.add(_onto_budget(placement, learned_G[None], floor, rng))
        while len(rows) < count and empty_blocks < _EMPTY_BLOCKS:
            drawn_nG = learned_TG[rng.integers(len(learned_TG), size=max(_FEWEST, 2 * (count - len(rows))))]
            drawn_nG = drawn_nG + rng.normal(0, self.spread, drawn_nG.shape)
            new = rows.add(_onto_budget(placement, drawn_nG, floor, rng))
            empty_blocks = 0 if new else empty_blocks + 1
        if not len(rows) and not len(scored):
            return BudgetSampler(floor=self.floor).ask(space, budget, count, seed=seed)
        return rows.widths()[:count]


def _onto_budget(
    placement: Placement, shares_nG: NDArray[np.float64], floor: Positions, rng: np.random.Generator
) -> Positions:
    """Rows with all shares raised to one power so that their cost meets the budget; those that get there."""
    positions, costs = placement.scale_to_budget(shares_nG.clip(_NARROWEST, 1), floor)
    return placement.repair(positions, costs, floor, rng)
