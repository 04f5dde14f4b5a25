"""Evolution: the best candidates so far, mixed and changed a little, placed onto the budget again."""

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from eyas.sampling.placement import Placement
from eyas.sampling.samplers.random_widths import BudgetSampler, DistinctRows, scored_widths

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace
    from eyas.sampling.budget import Budget
    from eyas.sampling.search_history import SearchHistory

_BLOCKS = 8  # blocks of children before a generation is left smaller


class EvolutionSampler(BudgetSampler):
    """Evolution over widths (Cai et al. 2020, arXiv:1908.09791, section 3.4), every child moved onto the budget.

    The first generation is drawn as ``budget`` draws. Each later one comes from the best candidates so far: a child
    takes every group's width from one of two of them, some groups are changed, and all are raised to one common power
    so that the cost meets the budget again.
    """

    learns = True

    kind: Literal["evolution"] = "evolution"  # type: ignore[assignment]
    first: Annotated[int, Field(ge=2)] = 64
    """Candidates of the first generation."""
    generation: Annotated[int, Field(ge=1)] = 32
    """Candidates of each further one."""
    parents: Annotated[int, Field(ge=2)] = 12
    """The best so far that have children."""
    mutated: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Chance of a group to be changed."""
    change: Annotated[float, Field(gt=0)] = 0.2
    """Standard deviation of a change, as a share of the widths between the floor and all channels."""

    def ask(
        self, space: "SearchSpace", budget: "Budget", count: int, *, seed: int, history: "SearchHistory | None" = None
    ) -> NDArray[np.int64]:
        """See the base; one generation at a time."""
        if history is None or len(history) < 2:
            return super().ask(space, budget, min(count, self.first), seed=seed, history=history)
        placement, scored = Placement(space, budget), scored_widths(history, len(space.groups))
        floor = placement.floor(self.floor * placement.uniform_share())
        rng = np.random.default_rng([seed, len(scored)])
        span_G = np.maximum(placement.top - floor, 1)
        shares_PG = ((placement.positions(history.best(self.parents)) - floor) / span_G).clip(0, 1)
        wanted, rows = min(count, self.generation), DistinctRows(placement, scored)
        for _ in range(_BLOCKS):
            if len(rows) >= wanted:
                break
            children_nG = self._children(shares_PG, 2 * wanted, rng)
            positions, costs = placement.scale_to_budget(children_nG, floor)
            rows.add(placement.repair(positions, costs, floor, rng))
        return rows.widths()[:wanted]

    def _children(self, shares_PG: NDArray[np.float64], count: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Shares of each group between the floor and all channels, ``(count, G)``, inside (0, 1)."""
        groups = shares_PG.shape[1]
        pairs_n2 = rng.integers(len(shares_PG), size=(count, 2))
        of_second_nG = rng.random((count, groups)) < 0.5
        mixed_nG = np.where(of_second_nG, shares_PG[pairs_n2[:, 1]], shares_PG[pairs_n2[:, 0]])
        changed_nG = rng.random((count, groups)) < self.mutated
        changed_nG[np.arange(count), rng.integers(groups, size=count)] = True  # one at least
        mixed_nG = mixed_nG + changed_nG * rng.normal(0, self.change, (count, groups))
        return mixed_nG.clip(0.02, 0.98)
