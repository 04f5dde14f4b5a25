"""Random widths as they are distributed inside the band: a marginal per group, and what misses the band is drawn again.

Shapes: n candidates, G channel groups in the order of ``space.groups``, P legal widths of a group.
"""

import logging
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from eyas.sampling.placement import Placement, Positions
from eyas.sampling.samplers.base import Sampler
from eyas.sampling.samplers.random_widths import BudgetSampler, DistinctRows, scored_widths

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace
    from eyas.sampling.budget import Budget
    from eyas.sampling.search_history import SearchHistory

_log = logging.getLogger(__name__)
_BLOCK = 8192  # rows drawn at once
_FITTED = 512  # draws nearest to the budget that marginals are fitted to, where fewer lie inside
_MOVED = 256  # rows that are moved inside where too few lie there, at least
_EMPTY_BLOCKS = 4  # blocks in a row that brought nothing new


class ConditionalSampler(Sampler):
    """The marginal of each group's width among random draws at the budget (Chen et al. 2021, arXiv:2109.05432).

    Widths are drawn uniformly, and their costs computed; each group's widths among the draws inside the band, or among
    those nearest to it, are its marginal. Candidates are drawn from the marginals and kept where they lie inside; what
    is still missing then is moved inside. Uniform widths come first.

    Use it where candidates are to be spread as random networks of this cost are, to hold scorers against each other.
    """

    kind: Literal["conditional"] = "conditional"
    floor: Annotated[float, Field(ge=0, lt=1)] = 0.4
    """No group keeps less than this share of what uniform widths would keep."""
    draws: Annotated[int, Field(ge=1000, le=10_000_000)] = 20_000
    """Random widths that the marginals are fitted to."""

    def ask(
        self, space: "SearchSpace", budget: "Budget", count: int, *, seed: int, history: "SearchHistory | None" = None
    ) -> NDArray[np.int64]:
        """See the base; fewer than ``count`` rows where the band holds fewer."""
        placement = Placement(space, budget)
        placement.check_reachable()
        scored = scored_widths(history, len(space.groups))
        rng, rows = np.random.default_rng([seed, len(scored)]), DistinctRows(placement, scored)
        rows.add(placement.uniform_in_band(rng))
        floor = placement.floor(self.floor * placement.uniform_share())
        marginals = fit_marginals(placement, floor, self.draws, rng)
        inside = drawn = empty_blocks = 0
        while len(rows) < count and empty_blocks < _EMPTY_BLOCKS:
            positions = draw_from(marginals, _BLOCK, rng)
            costs = placement.costs(positions)
            held = budget.holds(costs)
            new = rows.add(positions[held])
            inside, drawn = inside + int(held.sum()), drawn + len(positions)
            empty_blocks = 0 if new else empty_blocks + 1
        if drawn:
            share = 100 * inside / drawn  # low where widths depend on each other, of which marginals know nothing
            _log.info("%d of %d conditional draws lie inside the band (%.1f %%)", inside, drawn, share)
        if len(rows) < count:
            rows.add(
                onto_budget(placement, draw_from(marginals, max(_MOVED, 2 * (count - len(rows))), rng), floor, rng)
            )
        if not len(rows) and not len(scored):
            return BudgetSampler(floor=self.floor).ask(space, budget, count, seed=seed)
        return rows.widths()[:count]


Marginals = list[NDArray[np.float64]]
"""The chance of each legal width, by group ``(P,)``."""


def fit_marginals(placement: Placement, floor: Positions, draws: int, rng: np.random.Generator) -> Marginals:
    """How often a group has each width among uniform draws at the budget; none from the floor on is impossible."""
    positions = rng.integers(floor, placement.top + 1, (draws, len(floor)))
    costs = placement.costs(positions)
    inside = positions[placement.budget.holds(costs)]
    if len(inside) < _FITTED:
        inside = positions[np.argsort(np.abs(costs - placement.budget.target), kind="stable")[:_FITTED]]
    marginals = []
    for column, low, top in zip(inside.T, floor, placement.top, strict=True):
        counts = np.bincount(column, minlength=top + 1) + 1 / (top + 1)
        counts[:low] = 0
        marginals.append(counts / counts.sum())
    return marginals


def draw_from(marginals: Marginals, count: int, rng: np.random.Generator) -> Positions:
    """Positions of each group from its marginal, apart from all others, ``(count, G)``."""
    return np.stack([rng.choice(len(chances), count, p=chances) for chances in marginals], 1)


def onto_budget(placement: Placement, positions: Positions, floor: Positions, rng: np.random.Generator) -> Positions:
    """Rows with all groups made wider or narrower alike until they lie inside the band; those that get there."""
    shares_nG = (positions - floor) / np.maximum(placement.top - floor, 1)
    return placement.repair(*placement.scale_to_budget(shares_nG.clip(0.02, 0.98), floor), floor, rng)
