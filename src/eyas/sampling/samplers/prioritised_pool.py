"""A pool of the best candidates, from which more and more is drawn, and less and less at random."""

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from eyas.sampling.placement import Placement
from eyas.sampling.samplers.conditional import ConditionalSampler, draw_from, fit_marginals, onto_budget
from eyas.sampling.samplers.random_widths import DistinctRows, scored_widths

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace
    from eyas.sampling.budget import Budget
    from eyas.sampling.search_history import SearchHistory

_BLOCKS = 8  # blocks of candidates before a generation is left smaller


class PoolSampler(ConditionalSampler):
    r"""Prioritised sampling from a pool (Chen et al. 2021, arXiv:2109.05432), without its training.

    The first generation is drawn as ``conditional`` draws. Of each later one a share p has all groups drawn so; every
    other candidate is a member of the pool, drawn with chances :math:`\operatorname{softmax}(z / t)` of its
    standardised score z, of which some groups are drawn anew. All are moved onto the budget. Both p and t fall from 1
    to 0.01 while the search runs.

    Use it where the search is to keep many good candidates in play and turns to the best only at its end.
    """

    learns = True

    kind: Literal["pool"] = "pool"  # type: ignore[assignment]
    first: Annotated[int, Field(ge=2)] = 64
    """Candidates of the first generation."""
    generation: Annotated[int, Field(ge=1)] = 32
    """Candidates of each further one."""
    size: Annotated[int, Field(ge=1)] = 50
    """The best so far that the pool holds."""
    renewed: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Chance of a group of a member to be drawn anew."""

    def ask(
        self, space: "SearchSpace", budget: "Budget", count: int, *, seed: int, history: "SearchHistory | None" = None
    ) -> NDArray[np.int64]:
        """See the base; one generation at a time."""
        if history is None or len(history) < 2:
            return super().ask(space, budget, min(count, self.first), seed=seed, history=history)
        placement, scored = Placement(space, budget), scored_widths(history, len(space.groups))
        rng, rows = np.random.default_rng([seed, len(scored)]), DistinctRows(placement, scored)
        floor = placement.floor(self.floor * placement.uniform_share())
        marginals = fit_marginals(placement, floor, self.draws, rng)
        heat = decayed(len(scored) / (len(scored) + count))
        members, chances = placement.positions(history.best(self.size)), priorities(history, self.size, heat)
        wanted = min(count, self.generation)
        for _ in range(_BLOCKS):
            if len(rows) >= wanted:
                break
            fresh_nG = draw_from(marginals, 2 * wanted, rng)
            anew_nG = rng.random(fresh_nG.shape) < self.renewed
            anew_nG[np.arange(len(fresh_nG)), rng.integers(len(floor), size=len(fresh_nG))] = True  # one at least
            anew_nG |= rng.random((len(fresh_nG), 1)) < heat
            drawn_nG = np.where(anew_nG, fresh_nG, members[rng.choice(len(members), len(fresh_nG), p=chances)])
            rows.add(onto_budget(placement, drawn_nG, floor, rng))
        return rows.widths()[:wanted]


def decayed(share: float, start: float = 1.0, end: float = 0.01) -> float:
    """A geometric fall from ``start`` to ``end`` after a share of the search."""
    return float(start * (end / start) ** share)


def priorities(history: "SearchHistory", size: int, heat: float) -> NDArray[np.float64]:
    """The chance of each of the ``size`` best to be drawn, best first; of those without a score none."""
    scores = np.sort(history.scores[np.isfinite(history.scores)])[::-1][:size]
    if not len(scores):
        return np.full(min(size, len(history)), 1 / min(size, len(history)))
    spread = scores.std()
    weights = np.exp((scores - scores[0]) / ((spread if spread > 0 else 1) * heat))
    chances = np.zeros(min(size, len(history)))
    chances[: len(scores)] = weights / weights.sum()
    return chances
