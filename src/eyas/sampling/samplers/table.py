"""What samplers share that allocate widths by an error table of the dense network.

Shapes: n candidates, G channel groups in the order of ``space.groups``, P legal widths of a group.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from eyas.errors import ParameterError
from eyas.sampling.placement import Placement, Positions
from eyas.sampling.samplers.base import Sampler
from eyas.sampling.samplers.random_widths import BudgetSampler, DistinctRows, scored_widths

if TYPE_CHECKING:
    from torch import Tensor, nn

    from eyas.pruning.planner import Planner
    from eyas.pruning.space import SearchSpace
    from eyas.sampling.budget import Budget
    from eyas.sampling.error_table import Curves, ErrorTable
    from eyas.sampling.search_history import SearchHistory

_EMPTY_BLOCKS = 4  # blocks in a row that brought nothing new
_FEWEST, _MOST = 8, 128  # candidates allocated at once
_BISECTIONS = 30


class TableSampler(Sampler):
    """Allocates by error curves, each group's times a factor: all 1 at first, others for each further candidate.

    Uniform widths come first, then those of the curves as they were measured. All are repaired by single steps to the
    exact cost.
    """

    floor: Annotated[float, Field(ge=0, lt=1)] = 0.4
    """No group keeps less than this share of what uniform widths would keep."""
    levels: Annotated[int, Field(ge=2, le=1000)] = 9
    """Widths of each group at which errors are measured."""
    images: Annotated[int, Field(ge=2, le=4096)] = 256
    """Calibration images that they are measured on."""
    refitted: bool = False
    """Whether layers that read a narrowed group are refitted before its error is measured, as the race refits."""

    @property
    def needs_table(self) -> bool:
        """See the base."""
        return True

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
    ) -> "ErrorTable":
        """See the base: as many widths and images as the options say."""
        from eyas.sampling.error_table import measure_errors

        used = images[: self.images]
        return measure_errors(model, space, planner, used, levels=self.levels, refitted=self.refitted, output=output)

    def ask(
        self,
        space: "SearchSpace",
        budget: "Budget",
        count: int,
        *,
        seed: int,
        history: "SearchHistory | None" = None,
        table: "ErrorTable | None" = None,
    ) -> NDArray[np.int64]:
        """See the base.

        Raises:
            ParameterError: there is no ``table``.
        """
        if table is None:
            msg = f"sampler {self.kind!r} allocates by errors of the dense network: give it the table that it measures"
            raise ParameterError(msg)
        placement = Placement(space, budget)
        placement.check_reachable()
        curves, scored = table.curves(placement), scored_widths(history, len(space.groups))
        rng, rows = np.random.default_rng([seed, len(scored)]), DistinctRows(placement, scored)
        rows.add(placement.uniform_in_band(rng))
        floor, wanted = placement.floor(self.floor * placement.uniform_share()), self.wanted(count, history)
        block, empty_blocks = min(max(wanted, _FEWEST), _MOST), 0
        factors_nG = self.factors(placement, curves, block, rng, history)
        if not len(scored):
            factors_nG[0] = 1
        while len(rows) < wanted and empty_blocks < _EMPTY_BLOCKS:
            positions = self.allocate(placement, curves, factors_nG, floor)
            new = rows.add(placement.repair(positions, placement.costs(positions), floor, rng))
            empty_blocks = 0 if new else empty_blocks + 1
            factors_nG = self.factors(placement, curves, block, rng, history)
        if not len(rows) and not len(scored):
            return BudgetSampler(floor=self.floor).ask(space, budget, count, seed=seed)
        return rows.widths()[:wanted]

    def wanted(self, count: int, history: "SearchHistory | None") -> int:
        """How many of ``count`` candidates are proposed at once."""
        return count

    def factors(
        self,
        placement: Placement,
        curves: "Curves",
        count: int,
        rng: np.random.Generator,
        history: "SearchHistory | None",
    ) -> NDArray[np.float64]:
        """Factors of further candidates, ``(count, G)``, above 0."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it draws factors")

    def allocate(
        self, placement: Placement, curves: "Curves", factors_nG: NDArray[np.float64], floor: Positions
    ) -> Positions:
        """Positions of each row of factors, ``(n, G)``, as near to the budget as the allocation gets."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it allocates")


class SpreadTableSampler(TableSampler):
    """Factors that are log-normal: curves are trusted as far as they are measured."""

    why_few = (
        "its error table leads to the same widths again and again; a larger spread, or sampler budget, finds more, "
        "unless `round_to`, `min_width` and `tolerance` leave no more"
    )

    spread: Annotated[float, Field(gt=0, le=10)] = 0.5
    """Standard deviation of the logarithm of a factor."""

    def factors(
        self,
        placement: Placement,
        curves: "Curves",
        count: int,
        rng: np.random.Generator,
        history: "SearchHistory | None",
    ) -> NDArray[np.float64]:
        """See the base."""
        return np.exp(rng.normal(0, self.spread, (count, len(curves))))


def marginal_costs(placement: Placement, positions_G: Positions, weights_L: NDArray[np.float64]) -> "Curves":
    """What each legal width of a group costs, all others at the positions, by group ``(P,)``.

    The weighed sum over the budget's limits, each as a share of its target.
    """
    space, budget, curves = placement.space, placement.budget, []
    targets_L = np.array([limit.target for limit in budget.limits])
    for group, top in enumerate(placement.top):
        rows = np.tile(positions_G, (top + 1, 1))
        rows[:, group] = np.arange(top + 1)
        curves.append((weights_L / targets_L) @ budget.costs_by_limit(space, placement.widths(rows)))
    return curves


def bisect_to_budget(
    placement: Placement, positions_at: Callable[[NDArray[np.float64]], Positions], count: int
) -> Positions:
    """Of each of ``count`` families, whose cost rises with a number from 0 to 1, the member nearest to the budget.

    Args:
        placement: onto the budget.
        positions_at: from one number per family ``(count,)`` to positions ``(count, G)``.
        count: of families.
    """
    low_n, high_n = np.zeros(count), np.ones(count)
    best, nearest_n = positions_at(high_n), np.full(count, np.inf)
    for _ in range(_BISECTIONS):
        middle_n = (low_n + high_n) / 2
        positions = positions_at(middle_n)
        gaps_n = placement.costs(positions) - placement.budget.target
        nearer_n = np.abs(gaps_n) < nearest_n
        best[nearer_n], nearest_n[nearer_n] = positions[nearer_n], np.abs(gaps_n[nearer_n])
        low_n, high_n = np.where(gaps_n > 0, low_n, middle_n), np.where(gaps_n > 0, middle_n, high_n)
    return best
