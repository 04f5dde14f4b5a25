"""Widths of least summed error under an additive cost: dynamic programming over groups and budgets.

Shapes: n problems solved at once, G channel groups, B + 1 budgets ``0 ... B``, C choices of a group.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Allocation:
    r"""For every whole budget b the choices :math:`\arg\min \sum_g e_g(c_g)` with :math:`\sum_g w_g(c_g) \le b`.

    :math:`f_g(b) = \min_c f_{g-1}(b - w_g(c)) + e_g(c)`, all budgets of a group at once: the knapsack of Xu et al.
    2023 (arXiv:2308.10438) and of Frantar and Alistarh 2022 (arXiv:2201.13096).

    Args:
        errors: by group, ``(n, C)``: of each choice in each problem.
        weights: by group, ``(C,)``: whole and at least 0; each group has a choice of weight 0.
        budget: the largest, B.
    """

    def __init__(self, errors: Sequence[Floats], weights: Sequence[Ints], budget: int) -> None:
        self.weights = weights
        problems = len(errors[0])
        least_nB = np.zeros((problems, budget + 1))
        self._choices: list[NDArray[np.int32]] = []
        for errors_nC, weights_C in zip(errors, weights, strict=True):
            before_nB, least_nB = least_nB, np.full_like(least_nB, np.inf)
            chosen_nB = np.zeros(least_nB.shape, np.int32)
            for choice in np.argsort(weights_C, kind="stable"):
                weight = int(weights_C[choice])
                if weight > budget:
                    break
                sums = before_nB[:, : budget + 1 - weight] + errors_nC[:, choice, None]
                better = sums < least_nB[:, weight:]
                least_nB[:, weight:] = np.where(better, sums, least_nB[:, weight:])
                chosen_nB[:, weight:] = np.where(better, choice, chosen_nB[:, weight:])
            self._choices.append(chosen_nB)
        self.least: Floats = least_nB
        """The least error of each problem at each budget, ``(n, B + 1)``; never rises with the budget."""

    def choices(self, budgets_n: Ints) -> Ints:
        """The best choice of every group at one budget per problem, ``(n, G)``."""
        problems, left_n = np.arange(len(self.least)), budgets_n.copy()
        columns = []
        for chosen_nB, weights_C in zip(reversed(self._choices), reversed(self.weights), strict=True):
            columns.append(chosen_nB[problems, left_n].astype(np.int64))
            left_n = left_n - weights_C[columns[-1]]
        return np.stack(columns[::-1], 1)
