"""Random widths, placed onto the budget by the closed-form cost."""

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from eyas.errors import ParameterError
from eyas.sampling.block_drops import BlockDrops
from eyas.sampling.placement import Placement, Positions
from eyas.sampling.samplers.base import Sampler

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace
    from eyas.sampling.budget import Budget
    from eyas.sampling.search_history import SearchHistory

_ROWS_AT_ONCE = 8192  # rows placed at once: what they need stays in the cache
_EMPTY_BLOCKS = 4  # blocks in a row that found nothing new


class BudgetSampler(Sampler):
    """Uniform random widths scaled onto the budget, nothing in vain (Li et al. 2020, arXiv:2007.02491).

    Every group's share of channels is drawn uniformly between the floor and 1, then all shares of a candidate
    are raised to one common power so that its cost meets the budget; what coarse steps still miss is repaired
    by single steps. Where a space is small its legal widths are listed instead. The candidate with the same
    share everywhere always comes first. Where depth is searched (``sample.depth``), residual blocks are left out
    before the widths of the others are scaled; where the budget is below what widths alone reach, as many as it takes.

    Use it to hold others against chance, and where candidates must not depend on scores or images; ``evolution``
    passes within its first few candidates what this comes to with 300 (docs/experiments.md).
    """

    drops_blocks = True

    kind: Literal["budget"] = "budget"
    floor: Annotated[float, Field(ge=0, lt=1)] = 0.4
    """No group keeps less than this share of what uniform widths would keep: thinner layers score well and
    never recover."""
    drop: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Where depth is searched, a candidate leaves out each residual block with a chance between 0 and this, drawn for
    every candidate: some keep all blocks and are narrow, some keep few and are wide."""

    @property
    def leaves_blocks_out(self) -> bool:
        """Whether the options let a candidate leave a residual block out."""
        return self.drop > 0

    def check_space(self, space: "SearchSpace") -> None:
        """See the base.

        Raises:
            ParameterError: also where the options leave no block out.
        """
        super().check_space(space)
        if space.blocks and not self.leaves_blocks_out:
            msg = f"`sampler` {self.kind!r} with drop 0 leaves no residual block out: give no `depth`, or a higher drop"
            raise ParameterError(msg)

    def ask(
        self, space: "SearchSpace", budget: "Budget", count: int, *, seed: int, history: "SearchHistory | None" = None
    ) -> NDArray[np.int64]:
        """See the base; fewer than ``count`` rows where the band holds fewer."""
        placement = Placement(space, budget)
        placement.check_reachable()
        scored = scored_widths(history, len(space.groups))
        rng = np.random.default_rng([seed, len(scored)])
        rows = DistinctRows(placement, scored)
        floor = placement.floor(self.floor * placement.uniform_share())
        rows.add(placement.uniform_in_band(rng))
        if placement.is_listed:
            grid = placement.grid(floor)
            rows.add(rng.permutation(grid[placement.budget.holds(placement.costs(grid))]))
        else:
            self._draw(placement, floor, rows, count, rng)
        if not len(rows) and not len(scored):
            raise placement.no_candidate_error(floor)
        return rows.widths()[:count]

    def _draw(
        self, placement: Placement, floor: Positions, rows: "DistinctRows", count: int, rng: np.random.Generator
    ) -> None:
        """Place random blocks until ``count`` rows are found, or blocks bring nothing new."""
        drops, empty_blocks = BlockDrops(placement, self.drop, floor), 0
        while len(rows) < count and empty_blocks < _EMPTY_BLOCKS:
            draws = self._shares(placement, min(_ROWS_AT_ONCE, max(2 * (count - len(rows)), 64)), rng)
            positions, costs = placement.scale_to_budget(draws, floor, drops.draw(len(draws), rng))
            new = rows.add(placement.repair(positions, costs, floor, rng))
            empty_blocks = empty_blocks + 1 if new < len(draws) / 1000 else 0

    def _shares(self, placement: Placement, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Shares of each group between the floor and all channels before they are placed, ``(count, G)``, in (0, 1]."""
        return rng.uniform(1e-12, 1, (count, len(placement.top)))


def scored_widths(history: "SearchHistory | None", num_groups: int) -> NDArray[np.int64]:
    """The widths that were scored already, ``(n, G)``."""
    return history.widths if history is not None else np.empty((0, num_groups), np.int64)


class DistinctRows:
    """Distinct rows in the order they were found, none of them scored before, nor the dense network's."""

    def __init__(self, placement: Placement, scored: NDArray[np.int64]) -> None:
        self._placement = placement
        # 64-bit fingerprints: a collision would only drop a candidate, about once in 10^9 runs of 10^5
        self._keys = np.random.default_rng(0).integers(1, 2**63, len(placement.top), np.uint64) | np.uint64(1)
        dense = placement.widths(placement.top[None])
        self._seen = np.sort(self._fingerprint(np.concatenate([scored, dense])))
        self._rows: list[NDArray[np.int64]] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, positions: Positions) -> int:
        """Keep what is new; returns how many rows that were."""
        rows = self._placement.widths(positions)
        prints = self._fingerprint(rows)
        unique, first = np.unique(prints, return_index=True)
        at = np.searchsorted(self._seen, unique).clip(max=len(self._seen) - 1)
        new = unique != self._seen[at]
        self._rows.append(rows[np.sort(first[new])])
        self._seen = np.sort(np.concatenate([self._seen, unique[new]]))
        self._count += int(new.sum())
        return int(new.sum())

    def widths(self) -> NDArray[np.int64]:
        """All rows, ``(n, G)``."""
        return np.concatenate(self._rows)

    def _fingerprint(self, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
        mixed: NDArray[np.uint64] = (rows.astype(np.uint64) * self._keys).sum(1, dtype=np.uint64)
        return mixed ^ (mixed >> np.uint64(29))
