"""From the products of lengths that a trace has counted to the cost model: like terms summed."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eyas.pruning.cost import CostModel, Polynomial
from eyas.pruning.groups import Ints


@dataclass(frozen=True)
class Monomial:
    """``coefficient`` times a product of lengths; each length is an array of unit numbers, or FIXED, to count."""

    coefficient: int
    lengths: tuple[Ints, ...]
    block: int | None = None
    """Number of the smallest residual block that it goes with, where it goes with one."""


class CostTerms:
    """Sums monomials to polynomials over shared linear forms.

    Args:
        unit_group: group number of each unit, shape ``(num_units,)``.
        num_groups: number of groups.
        switches: a group of each residual block, 0 wide where the block is left out.
    """

    def __init__(self, unit_group: Ints, num_groups: int, switches: tuple[int, ...] = ()) -> None:
        self._unit_group, self._num_groups, self._switches = unit_group, num_groups, switches
        self._forms: dict[bytes, int] = {}
        self._base: list[float] = [1.0]
        self._slope: list[NDArray[np.float64]] = [np.zeros(num_groups + len(switches))]

    def cost_model(
        self, macs: Iterable[Monomial], params: Iterable[Monomial], activations: Iterable[Monomial], *, batch: int
    ) -> CostModel:
        """The costs per image; macs and activations are totals over ``batch`` images."""
        polynomials = (self._sum(macs, batch), self._sum(params, 1), self._sum(activations, batch))
        return CostModel(np.array(self._base), np.array(self._slope).T.copy(), *polynomials, self._switches)

    def _sum(self, monomials: Iterable[Monomial], divisor: int) -> Polynomial:
        """Fixed lengths folded into the coefficients, like monomials summed."""
        summed: dict[tuple[int, ...], int] = {}
        for monomial in monomials:
            coefficient, forms = monomial.coefficient, []
            for length in monomial.lengths:
                if (length >= 0).any():
                    forms.append(self._form(length))
                else:
                    coefficient *= len(length)
            if monomial.block is not None:
                forms.append(self._switch(monomial.block))
            key = tuple(sorted(forms))
            summed[key] = summed.get(key, 0) + coefficient
        return Polynomial.of_terms([(coefficient, forms) for forms, coefficient in summed.items()], divisor)

    def _form(self, length: Ints) -> int:
        """Number of the linear form that counts the kept entries of ``length``."""
        key = length.tobytes()
        if key not in self._forms:
            units, counts = np.unique(length[length >= 0], return_counts=True)
            slope = np.zeros_like(self._slope[0])
            # Units of one group appear equally often, so that any of them gives the slope.
            slope[self._unit_group[units]] = counts
            self._forms[key] = len(self._base)
            self._base.append(float((length < 0).sum()))
            self._slope.append(slope)
        return self._forms[key]

    def _switch(self, block: int) -> int:
        """Number of the form that is 1 where a block is there, else 0."""
        key = f"block {block}".encode()
        if key not in self._forms:
            slope = np.zeros_like(self._slope[0])
            slope[self._num_groups + block] = 1
            self._forms[key] = len(self._base)
            self._base.append(0.0)
            self._slope.append(slope)
        return self._forms[key]
