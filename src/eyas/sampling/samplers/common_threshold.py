"""One error that every group may make alone, the largest that the budget asks for."""

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from eyas.sampling.placement import Placement, Positions
from eyas.sampling.samplers.table import SpreadTableSampler, bisect_to_budget

if TYPE_CHECKING:
    from eyas.sampling.error_table import Curves

_LEAST = 1e-9  # errors below are none


class SensitivitySampler(SpreadTableSampler):
    """A common threshold on each group's error alone, by bisection onto the budget (Li et al. 2017, arXiv:1608.08710).

    Every group takes its smallest width whose error is not above the threshold, as NVIDIA ModelOpt's FastNAS narrows
    its space by one. Further candidates have thresholds times random factors, another for each group.

    Use it for a first answer without a search: it tells which groups the network can spare.
    """

    kind: Literal["sensitivity"] = "sensitivity"

    def allocate(
        self, placement: Placement, curves: "Curves", factors_nG: NDArray[np.float64], floor: Positions
    ) -> Positions:
        """See the base: the smallest widths whose errors, times their factors, are not above one threshold."""
        errors = np.concatenate([*curves, [_LEAST]])
        highest, lowest = np.log(errors.max() * factors_nG.max()), np.log(errors[errors > 0].min() * factors_nG.min())

        def positions_at(share_n: NDArray[np.float64]) -> Positions:
            threshold_n = np.exp(highest + share_n * (lowest - highest))
            columns = [
                np.searchsorted(-curve, -threshold_n / factors_n)
                for curve, factors_n in zip(curves, factors_nG.T, strict=True)
            ]
            return np.stack(columns, 1).clip(floor, placement.top)

        return bisect_to_budget(placement, positions_at, len(factors_nG))
