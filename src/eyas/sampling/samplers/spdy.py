"""A search over the coefficients of error curves, each solved exactly, judged by the race."""

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from eyas.sampling.placement import Placement, Positions
from eyas.sampling.samplers.distortion_dp import additive_costs, least_error
from eyas.sampling.samplers.table import TableSampler

if TYPE_CHECKING:
    from eyas.sampling.error_table import Curves
    from eyas.sampling.search_history import SearchHistory

_LEAST = 1e-4  # coefficient: below it an error counts for nothing


class SPDYSampler(TableSampler):
    r"""Coefficients in (0, 1) of the errors whose optimum scores best (Frantar and Alistarh 2022, arXiv:2201.13096).

    The first generation has random coefficients; each later one those of the best candidate, a few of them drawn anew,
    and fewer the longer nothing was better. The coefficients of widths are those that they are optimal
    for, the marginal cost of a channel over its marginal error, so that nothing but widths and scores has to be kept.

    Use it where a hundred candidates and more can be scored, and random widths are too wild to be worth scoring.
    """

    learns = True

    kind: Literal["spdy"] = "spdy"
    first: Annotated[int, Field(ge=2)] = 32
    """Candidates of the first generation."""
    generation: Annotated[int, Field(ge=1)] = 8
    """Candidates of each further one."""
    resampled: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of the coefficients that are drawn anew at first, at least two."""
    patience: Annotated[int, Field(ge=1)] = 32
    """Candidates without a better one before one coefficient fewer is drawn anew."""
    refitted: bool = True
    """Whether layers that read a narrowed group are refitted before its error is measured, as in the paper."""

    def wanted(self, count: int, history: "SearchHistory | None") -> int:
        """See the base; one generation at a time."""
        return min(count, self.generation if history is not None and len(history) else self.first)

    def factors(
        self,
        placement: Placement,
        curves: "Curves",
        count: int,
        rng: np.random.Generator,
        history: "SearchHistory | None",
    ) -> NDArray[np.float64]:
        """See the base: all drawn, or a few of those of the best."""
        drawn_nG = rng.uniform(_LEAST, 1, (count, len(curves)))
        if history is None or not np.isfinite(history.scores).any():
            return drawn_nG
        costs = additive_costs(placement, curves, placement.floor(self.floor * placement.uniform_share()))
        best_G = coefficients(curves, costs, placement.positions(history.best(1))[0])
        anew = max(2, round(self.resampled * len(curves))) - (len(history) - 1 - history.last_better) // self.patience
        ranks_nG = rng.random(drawn_nG.shape).argsort(1)
        return np.where(ranks_nG < max(anew, 1), drawn_nG, best_G)

    def allocate(
        self, placement: Placement, curves: "Curves", factors_nG: NDArray[np.float64], floor: Positions
    ) -> Positions:
        """See the base: the optima whose true cost is nearest to the budget."""
        return least_error(placement, curves, factors_nG, floor)


def coefficients(curves: "Curves", costs: "Curves", positions_G: Positions) -> NDArray[np.float64]:
    """Coefficients up to 1 of the errors for which widths are optimal, as far as curves are convex, ``(G,)``.

    The slope of the cost over that of the error, each across the steps down and up from the width.
    """
    slopes = []
    for curve, cost, at in zip(curves, costs, positions_G.tolist(), strict=True):
        below, above = max(at - 1, 0), min(at + 1, len(curve) - 1)
        fallen = curve[below] - curve[above]
        slopes.append((cost[above] - cost[below]) / fallen if fallen > 0 else np.inf)
    slopes_G = np.array(slopes)
    largest = slopes_G[np.isfinite(slopes_G)].max(initial=0)
    scaled_G: NDArray[np.float64] = np.clip(slopes_G / (largest or 1), _LEAST, 1)
    return scaled_G
