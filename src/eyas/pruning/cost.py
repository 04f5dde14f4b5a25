"""Closed-form cost of a candidate: MACs, parameters, activation memory as polynomials of the widths.

One multiply-add is one MAC; convolutions and linear layers are counted. Activation memory is the bytes of
the outputs of those layers (the "activations" of Radosavovic et al. 2020, arXiv:2003.13678, section 3, in
bytes). All are per image.

Shapes: N candidates, G groups, L linear forms of the kept units, T terms of a polynomial.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

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
class Polynomial:
    """``(sum_t coefficient_t prod_f form_l(t, f)) // divisor``; form 0 is the constant 1."""

    coefficients: NDArray[np.float64]
    """``(T,)``."""
    index: NDArray[np.int64]
    """``(T, F)``: the forms that each term multiplies, filled up with form 0."""
    divisor: int = 1

    @classmethod
    def of_terms(cls, terms: Sequence[tuple[int, Sequence[int]]], divisor: int = 1) -> Self:
        """From pairs of a coefficient and the numbers of the forms it is multiplied by."""
        width = max((len(forms) for _, forms in terms), default=1) or 1
        index = [[*forms, *[0] * (width - len(forms))] for _, forms in terms]
        coefficients_T = np.array([coefficient for coefficient, _ in terms], dtype=np.float64)
        return cls(coefficients_T, np.array(index, dtype=np.int64).reshape(-1, width), divisor)

    def totals(self, forms_LN: NDArray[np.float64]) -> NDArray[np.int64]:
        """The value for each candidate; exact as long as totals stay below 2^53."""
        if not len(self.coefficients):
            return np.zeros(forms_LN.shape[1], dtype=np.int64)
        product_TN = forms_LN[self.index[:, 0]]
        for column in self.index.T[1:]:
            product_TN = product_TN * forms_LN[column]
        total = np.rint(self.coefficients @ product_TN).astype(np.int64)
        return total // self.divisor

    def to_json(self) -> dict[str, Any]:
        """Each term as a list: the coefficient, then its forms."""
        rows = zip(self.coefficients.tolist(), self.index.tolist(), strict=True)
        terms = [[int(coefficient), *(form for form in forms if form)] for coefficient, forms in rows]
        return {"terms": terms, "divisor": self.divisor}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """What :meth:`to_json` gave."""
        return cls.of_terms([(term[0], term[1:]) for term in content["terms"]], content["divisor"])


@dataclass(frozen=True)
class CostModel:
    """Three polynomials over shared linear forms ``base + units @ slope`` of the kept units per group."""

    base: NDArray[np.float64]
    """``(L,)``."""
    slope: NDArray[np.float64]
    """``(G, L)``; with switches ``(G + len(switches), L)``."""
    macs: Polynomial
    params: Polynomial
    activation_bytes: Polynomial
    switches: tuple[int, ...] = ()
    """A group of each residual block that may be left out; the last rows of ``slope``, one each, are multiplied by 1
    where that group has units, else by 0."""

    def evaluate(self, units_NG: NDArray[np.int64]) -> Costs:
        """Costs of candidates from their kept units per group."""
        blocks = [self._block(units_NG[row : row + _ROWS]) for row in range(0, len(units_NG), _ROWS)]
        joined = np.concatenate(blocks, axis=1) if blocks else np.empty((3, 0), dtype=np.int64)
        return Costs(*joined)

    def _block(self, units_NG: NDArray[np.int64]) -> NDArray[np.int64]:
        if self.switches:
            units_NG = np.concatenate([units_NG, units_NG[:, self.switches] > 0], axis=1)
        forms_LN = np.ascontiguousarray((units_NG @ self.slope + self.base).T)
        return np.stack([poly.totals(forms_LN) for poly in (self.macs, self.params, self.activation_bytes)])

    def without(self, gone: Sequence[int]) -> Self:
        """The same costs where the groups of these numbers are gone."""
        groups = len(self.slope) - len(self.switches)
        number = {group: new for new, group in enumerate(g for g in range(groups) if g not in gone)}
        left = [index for index, group in enumerate(self.switches) if group in number]
        slope = self.slope[[*number, *(groups + index for index in left)]]
        return replace(self, slope=slope, switches=tuple(number[self.switches[index]] for index in left))

    def to_json(self) -> dict[str, Any]:
        """Each form as a list: its constant, then pairs of a group's number and the entries per unit."""
        slopes = [[[int(g), int(slope_G[g])] for g in np.flatnonzero(slope_G)] for slope_G in self.slope.T]
        return {
            "forms": [[int(base), *pairs] for base, pairs in zip(self.base, slopes, strict=True)],
            "macs": self.macs.to_json(),
            "params": self.params.to_json(),
            "activation_bytes": self.activation_bytes.to_json(),
        } | ({"switches": list(self.switches)} if self.switches else {})

    @classmethod
    def from_json(cls, content: Mapping[str, Any], num_groups: int) -> Self:
        """What :meth:`to_json` gave, for a network of ``num_groups`` groups."""
        forms, switches = content["forms"], tuple(content.get("switches", ()))
        slope_LG = np.zeros((len(forms), num_groups + len(switches)))
        for slope_G, (_, *pairs) in zip(slope_LG, forms, strict=True):
            for group, entries in pairs:
                slope_G[group] = entries
        base_L = np.array([base for base, *_ in forms], dtype=np.float64)
        names = ("macs", "params", "activation_bytes")
        macs, params, activation_bytes = (Polynomial.from_json(content[name]) for name in names)
        return cls(base_L, slope_LG.T.copy(), macs, params, activation_bytes, switches)
