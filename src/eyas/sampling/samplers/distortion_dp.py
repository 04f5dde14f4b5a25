"""The widths of least summed distortion: error curves of single groups and dynamic programming on the budget."""

import itertools
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from eyas.sampling.allocation import Allocation
from eyas.sampling.placement import Placement, Positions
from eyas.sampling.samplers.table import SpreadTableSampler, bisect_to_budget, marginal_costs

if TYPE_CHECKING:
    from eyas.sampling.error_table import Curves

_CHOICES = 33  # widths of a group that the programme chooses from
_UNITS = 1000  # that the dearest choices cost together
_PASSES = 3  # at whose widths costs are taken


class DistortionDPSampler(SpreadTableSampler):
    """Least sum of single-group distortions at a budget, solved exactly (Xu et al. 2023, arXiv:2308.10438).

    The programme adds costs of single groups; of its optima at all budgets the one is taken whose true cost is nearest.
    Further candidates are optima of curves times random factors, as far as one can trust curves.

    Use it where few candidates can be scored: the second is the optimum of the table, the others lie around it.
    """

    kind: Literal["distortion_dp"] = "distortion_dp"

    def allocate(
        self, placement: Placement, curves: "Curves", factors_nG: NDArray[np.float64], floor: Positions
    ) -> Positions:
        """See the base: the optima whose true cost is nearest to the budget."""
        return least_error(placement, curves, factors_nG, floor)


def least_error(placement: Placement, curves: "Curves", factors_nG: NDArray[np.float64], floor: Positions) -> Positions:
    """Positions of least error, the sum of each group's curve times its factor, nearest to the budget, ``(n, G)``."""
    return _solve(placement, curves, factors_nG, floor, additive_costs(placement, curves, floor))


def additive_costs(placement: Placement, curves: "Curves", floor: Positions) -> "Curves":
    """What each legal width of a group costs, to be added up over groups, by group ``(P,)``.

    A channel's cost depends on the widths of other groups: the mean of those at uniform widths and at the optima of the
    plain curves that the mean of earlier passes led to. Several limits are weighed, one multiplier each, as leads to
    the least error within all of them.
    """
    weighed = [_weighed_costs(placement, curves, floor, weights_L) for weights_L in multipliers(placement)]
    plain_1G, errors, outside = np.ones((1, len(curves))), [], []
    for costs in weighed:
        optimum_1G = _solve(placement, curves, plain_1G, floor, costs)
        outside.append(not placement.budget.holds(placement.costs(optimum_1G))[0])
        errors.append(sum(curve[at] for curve, at in zip(curves, optimum_1G[0], strict=True)))
    return weighed[int(np.lexsort((errors, outside))[0])]


def multipliers(placement: Placement) -> NDArray[np.float64]:
    """Weights of the limits that sum to 1, on a grid: 1 alone for one limit, ``(m, L)``."""
    limits = len(placement.budget.limits)
    steps = 4 if limits == 2 else 2
    grid = itertools.combinations_with_replacement(range(limits), steps)
    rows = [np.bincount(picked, minlength=limits) / steps for picked in grid]
    return np.unique(rows, axis=0)


def _weighed_costs(
    placement: Placement, curves: "Curves", floor: Positions, weights_L: NDArray[np.float64]
) -> "Curves":
    """:func:`additive_costs` under such weights of the limits."""
    plain_1G = np.ones((1, len(curves)))
    costs = marginal_costs(placement, placement.uniform(placement.uniform_share()), weights_L)
    for done in range(1, _PASSES):
        there = marginal_costs(placement, _solve(placement, curves, plain_1G, floor, costs)[0], weights_L)
        costs = [(done * mean + cost) / (done + 1) for mean, cost in zip(costs, there, strict=True)]
    return costs


def _solve(
    placement: Placement, curves: "Curves", factors_nG: NDArray[np.float64], floor: Positions, costs: "Curves"
) -> Positions:
    """The optima under additive costs, of which each row takes the one whose true cost is nearest to the budget."""
    choices = [
        np.unique(np.rint(np.linspace(low, top, _CHOICES)).astype(np.int64))
        for low, top in zip(floor, placement.top, strict=True)
    ]
    dearer = [cost[chosen] - cost[chosen].min() for cost, chosen in zip(costs, choices, strict=True)]
    unit = sum(cost.max() for cost in dearer) / _UNITS or 1.0
    weights = [np.rint(cost / unit).astype(np.int64) for cost in dearer]
    budget = sum(int(weight.max()) for weight in weights)
    errors = [
        factors_nG[:, group, None] * curve[chosen]
        for group, (curve, chosen) in enumerate(zip(curves, choices, strict=True))
    ]
    allocation = Allocation(errors, weights, budget)

    def positions_at(share_n: NDArray[np.float64]) -> Positions:
        picked_nG = allocation.choices(np.rint(share_n * budget).astype(np.int64))
        return np.stack([chosen[picked] for chosen, picked in zip(choices, picked_nG.T, strict=True)], 1)

    return bisect_to_budget(placement, positions_at, len(factors_nG))
