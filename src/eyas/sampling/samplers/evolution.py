"""Evolution: the best candidates so far, mixed and changed a little, placed onto the budget again."""

import logging
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from eyas.errors import DataError, ParameterError
from eyas.sampling.block_drops import BlockDrops
from eyas.sampling.placement import ABSENT, Placement
from eyas.sampling.samplers.common_threshold import SensitivitySampler
from eyas.sampling.samplers.distortion_dp import DistortionDPSampler
from eyas.sampling.samplers.random_widths import BudgetSampler, DistinctRows, scored_widths
from eyas.sampling.samplers.table import TableSampler

if TYPE_CHECKING:
    from torch import Tensor, nn

    from eyas.pruning.planner import Planner
    from eyas.pruning.space import SearchSpace
    from eyas.sampling.budget import Budget
    from eyas.sampling.error_table import ErrorTable
    from eyas.sampling.search_history import SearchHistory

_log = logging.getLogger(__name__)
_BLOCKS = 8  # blocks of children before a generation is left smaller


class EvolutionSampler(BudgetSampler):
    """Evolution over widths (Cai et al. 2020, arXiv:1908.09791, section 3.4), every child moved onto the budget.

    The first generation begins with widths that a rough error table names (``distortion_dp`` and ``sensitivity``); the
    others are drawn as ``budget`` draws, but every second one has one share for all groups alike, such as the inner
    layers of a stage. Each later one comes from the best candidates so far: a child takes every group's width
    from one of two of them, some groups are changed, alone or with all alike, and all are raised to one common power so
    that the cost meets the budget again. Where depth is searched, a child has each residual block as one of its two
    parents has it.

    Use it as a rule: it is the default. At half the MACs ``distortion_dp`` and ``spdy`` came as far, with fewer
    different candidates (docs/experiments.md).
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
    change: Annotated[float, Field(gt=0, le=10)] = 0.2
    """Standard deviation of a change, as a share of the widths between the floor and all channels."""
    switched: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Where depth is searched, the chance of a residual block to be left out, or put back."""
    seeds: Annotated[int, Field(ge=0)] = 16
    """Of the first generation, those that ``distortion_dp`` and ``sensitivity`` propose by an error table; 0 measures
    none."""
    levels: Annotated[int, Field(ge=2, le=1000)] = 5
    """Widths of each group at which the table's errors are measured."""
    images: Annotated[int, Field(ge=2, le=4096)] = 64
    """Calibration images that they are measured on."""

    @property
    def leaves_blocks_out(self) -> bool:
        """Also where blocks are switched."""
        return self.drop > 0 or self.switched > 0

    @property
    def needs_table(self) -> bool:
        """See the base: where there are seeds."""
        return self.seeds > 0

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
    ) -> "ErrorTable | None":
        """See the base: a rough table, which takes as long as a few candidates.

        None where answers cannot be held against the dense network's, as of a detector: a warning says why, and what
        to do.
        """
        if not self.seeds:
            return None
        try:
            return next(iter(self._seeders)).measure(model, space, planner, images, output=output)
        except (DataError, ParameterError) as error:
            way = "mend that, or say seeds: 0 of sampler evolution, which asks for none"
            _log.warning("the search begins without seeds, from random widths alone: %s; %s", error, way)
            return None

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
        """See the base; one generation at a time, and the first without seeds where there is no ``table``."""
        if history is None or len(history) < 2:
            first = min(count, self.first)
            parts = [super().ask(space, budget, first, seed=seed, history=history)]
            by_table = table is not None and Placement(space, budget).widths_reach  # seeds leave no block out
            for seeder, seeds in self._seeders.items() if by_table else ():
                parts.insert(-1, seeder.ask(space, budget, 1 + seeds, seed=seed, history=history, table=table))
            widths = np.concatenate(parts)  # each part begins with uniform ones
            return widths[np.sort(np.unique(widths, axis=0, return_index=True)[1])][:first]
        placement, scored = Placement(space, budget), scored_widths(history, len(space.groups))
        floor = placement.floor(self.floor * placement.uniform_share())
        rng = np.random.default_rng([seed, len(scored)])
        span_G = np.maximum(placement.top - floor, 1)
        drops, parents_PG = BlockDrops(placement, self.drop, floor), placement.positions(history.best(self.parents))
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

    @property
    def _seeders(self) -> dict[TableSampler, int]:
        """Who proposes seeds, and how many each."""
        how = {"floor": self.floor, "levels": self.levels, "images": self.images}
        return {DistortionDPSampler(**how): -(-self.seeds // 2), SensitivitySampler(**how): self.seeds // 2}

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
