"""Closed-form cost of a candidate: MACs, parameters, activation memory as polynomials of the widths.

One multiply-add is one MAC; convolutions and linear layers are counted. Activation memory is the bytes of
the outputs of those layers (the "activations" of Radosavovic et al. 2020, arXiv:2003.13678, section 3, in
bytes). All are per image.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ROWS = 4096
"""Candidates evaluated at a time: what fits the cache."""


@dataclass(frozen=True)
class Cost:
    """What one image costs."""

    macs: int
    """Multiply-accumulates of convolutions and linear layers."""
    params: int
    """Entries of all parameters."""
    activation_bytes: int
    """Bytes of the outputs of convolutions and linear layers."""


@dataclass(frozen=True)
class Costs:
    """Costs of many candidates; each array is ``(num_candidates,)``, int64."""

    macs: NDArray[np.int64]
    params: NDArray[np.int64]
    activation_bytes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.macs)

    def __getitem__(self, index: int) -> Cost:
        return Cost(int(self.macs[index]), int(self.params[index]), int(self.activation_bytes[index]))


@dataclass(frozen=True)
class Monomial:
    """``coefficient`` times a product of lengths; each length is an array of unit numbers, -1 where fixed."""

    coefficient: int
    lengths: tuple[NDArray[np.int64], ...]


@dataclass(frozen=True)
class Polynomial:
    """A sum of products of linear forms of the unit counts: ``sum_t c_t prod_f (base + U @ slope)[index_tf]``."""

    coefficients: NDArray[np.float64]
    index: NDArray[np.int64]
    divisor: int = 1


class CostModel:
    """Three polynomials over shared linear forms.

    Args:
        macs, params, activations: their monomials; totals over the example batch.
        unit_group: group number of each unit, shape ``(num_units,)``.
        num_groups: number of groups.
        batch: images in the example batch; macs and activations are divided by it.
    """

    def __init__(
        self,
        macs: Iterable[Monomial],
        params: Iterable[Monomial],
        activations: Iterable[Monomial],
        *,
        unit_group: NDArray[np.int64],
        num_groups: int,
        batch: int,
    ) -> None:
        self._forms: dict[bytes, int] = {}
        self._unit_group, self._num_groups = unit_group, num_groups
        self._base, self._slope = [1.0], [np.zeros(num_groups)]
        self._macs = self._polynomial(macs, batch)
        self._params = self._polynomial(params, 1)
        self._activations = self._polynomial(activations, batch)
        self._base_L, self._slope_GL = np.array(self._base), np.array(self._slope).T.copy()

    def evaluate(self, units_NG: NDArray[np.int64]) -> Costs:
        """Costs of candidates given as kept units per group, shape ``(num_candidates, num_groups)``."""
        parts = [self._block(units_NG[row : row + _ROWS]) for row in range(0, len(units_NG), _ROWS)]
        joined = np.concatenate(parts, axis=1) if parts else np.empty((3, 0), dtype=np.int64)
        return Costs(*joined)

    def _block(self, units_NG: NDArray[np.int64]) -> NDArray[np.int64]:
        lengths_LN = np.ascontiguousarray((units_NG @ self._slope_GL + self._base_L).T)
        totals = [self._total(poly, lengths_LN) for poly in (self._macs, self._params, self._activations)]
        return np.stack(totals)

    @staticmethod
    def _total(polynomial: Polynomial, lengths_LN: NDArray[np.float64]) -> NDArray[np.int64]:
        """Exact as long as totals stay below 2^53."""
        if not len(polynomial.coefficients):
            return np.zeros(lengths_LN.shape[1], dtype=np.int64)
        product_TN = lengths_LN[polynomial.index[:, 0]]
        for column in polynomial.index.T[1:]:
            product_TN = product_TN * lengths_LN[column]
        total = np.rint(polynomial.coefficients @ product_TN).astype(np.int64)
        return total // polynomial.divisor

    def _polynomial(self, monomials: Iterable[Monomial], divisor: int) -> Polynomial:
        """Fixed lengths folded into the coefficients, like monomials summed."""
        summed: dict[tuple[int, ...], int] = {}
        for monomial in monomials:
            coefficient, forms = monomial.coefficient, []
            for length in monomial.lengths:
                if (length >= 0).any():
                    forms.append(self._form(length))
                else:
                    coefficient *= len(length)
            key = tuple(sorted(forms))
            summed[key] = summed.get(key, 0) + coefficient
        width = max((len(key) for key in summed), default=1) or 1
        index = [[*key, *[0] * (width - len(key))] for key in summed]
        coefficients = np.array(list(summed.values()), dtype=np.float64)
        return Polynomial(coefficients, np.array(index, dtype=np.int64).reshape(-1, width), divisor)

    def _form(self, length: NDArray[np.int64]) -> int:
        """Number of the linear form that counts the kept entries of ``length``; form 0 is the constant 1."""
        key = length.tobytes()
        if key not in self._forms:
            units, counts = np.unique(length[length >= 0], return_counts=True)
            slope = np.zeros(self._num_groups)
            slope[self._unit_group[units]] = counts
            self._forms[key] = len(self._base)
            self._base.append(float((length < 0).sum()))
            self._slope.append(slope)
        return self._forms[key]


def monomials(terms: Sequence[tuple[int, Sequence[NDArray[np.int64]]]]) -> list[Monomial]:
    """Monomials from pairs of a coefficient and its lengths."""
    return [Monomial(coefficient, tuple(lengths)) for coefficient, lengths in terms]
