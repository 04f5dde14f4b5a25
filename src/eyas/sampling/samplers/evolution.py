"""Evolution: the best candidates so far, mixed and changed a little, placed onto the budget again."""

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from eyas.sampling.block_drops import BlockDrops
from eyas.sampling.placement import ABSENT, Placement
from eyas.sampling.samplers.random_widths import BudgetSampler, DistinctRows, scored_widths

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace
    from eyas.sampling.budget import Budget
    from eyas.sampling.search_history import SearchHistory

_BLOCKS = 8  # blocks of children before a generation is left smaller


class EvolutionSampler(BudgetSampler):
    """Evolution over widths (Cai et al. 2020, arXiv:1908.09791, section 3.4), every child moved onto the budget.

    The first generation is drawn as ``budget`` draws, but every second draw has one share for all groups alike, such as
    the inner layers of a stage. Each later one comes from the best candidates so far: a child takes every group's width
    from one of two of them, some groups are changed, alone or with all alike, and all are raised to one common power so
    that the cost meets the budget again. Where depth is searched, a child has each residual block as one of its two
    parents has it.
    """

    learns = True

    kind: Literal["evolution"] = "evolution"  # type: ignore[assignment]
    first: Annotated[int, Field(ge=2)] = 64
    """Candidates of the first generation."""
    generation: Annotated[int, Field(ge=1)] = 32
    """Candidates of each further one."""
    alike: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of candidates whose groups alike (as wide, and made by as many layers) are drawn, or changed, together."""
    whole: Annotated[float, Field(ge=0, lt=1)] = 0.25
    """Chance that groups drawn together keep all their channels."""
    parents: Annotated[int, Field(ge=2)] = 12
    """The best so far that have children."""
    mutated: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Chance of a group to be changed."""
    change: Annotated[float, Field(gt=0)] = 0.2
    """Standard deviation of a change, as a share of the widths between the floor and all channels."""
    switched: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Where depth is searched, the chance of a residual block to be left out, or put back."""

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
        drops, parents_PG = BlockDrops(placement, self.drop), placement.positions(history.best(self.parents))
        shares_PG = ((parents_PG - floor) / span_G).clip(0, 1)
        if space.blocks:  # a block that is put back has no widths to inherit
            shares_PG = np.where(parents_PG == ABSENT, rng.random(shares_PG.shape), shares_PG)
        wanted, rows = min(count, self.generation), DistinctRows(placement, scored)
        for _ in range(_BLOCKS):
            if len(rows) >= wanted:
                break
            pairs_n2 = rng.integers(len(shares_PG), size=(2 * wanted, 2))
            children_nG = self._children(shares_PG, pairs_n2, _parts(space, self._together(2 * wanted)), rng)
            gone_nG = drops.inherit(parents_PG, pairs_n2, self.switched, rng)
            positions, costs = placement.scale_to_budget(children_nG, floor, gone_nG)
            rows.add(placement.repair(positions, costs, floor, rng))
        return rows.widths()[:wanted]

    def _shares(self, placement: Placement, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """See the base; groups drawn together have one share, which may be all their channels."""
        shares_nG = super()._shares(placement, count, rng)
        together_n = self._together(count)
        shares_nG[together_n[:, None] & (rng.random(shares_nG.shape) < self.whole)] = 1
        return np.take_along_axis(shares_nG, _parts(placement.space, together_n), 1)

    def _together(self, count: int) -> NDArray[np.bool_]:
        """The rows whose groups alike are drawn, or changed, together, ``(count,)``: evenly among the others."""
        return np.arange(count) * self.alike % 1 < self.alike

    def _children(
        self,
        shares_PG: NDArray[np.float64],
        pairs_n2: NDArray[np.int64],
        parts_nG: NDArray[np.int64],
        rng: np.random.Generator,
    ) -> NDArray[np.float64]:
        """Shares of each group between the floor and all channels, ``(n, G)``, above 0; parts are changed at once."""
        count, groups = parts_nG.shape
        of_second_nG = rng.random((count, groups)) < 0.5
        mixed_nG = np.where(of_second_nG, shares_PG[pairs_n2[:, 1]], shares_PG[pairs_n2[:, 0]])
        changed_nG = rng.random((count, groups)) < self.mutated
        changed_nG[np.arange(count), rng.integers(parts_nG.max(1) + 1)] = True  # one at least
        changes_nG = changed_nG * rng.normal(0, self.change, (count, groups))
        mixed_nG = mixed_nG + np.take_along_axis(changes_nG, parts_nG, 1)
        return mixed_nG.clip(0.02, 1)


def _parts(space: "SearchSpace", together_n: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The part each group belongs to, by number, ``(n, G)``: all groups alike in the rows named, else its own."""
    kinds = [(group.channels, len(group.layers)) for group in space.groups]
    alike_G = np.unique(np.array(kinds), axis=0, return_inverse=True)[1].reshape(-1)
    return np.where(together_n[:, None], alike_G, np.arange(len(alike_G)))
