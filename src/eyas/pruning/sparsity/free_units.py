"""What patterns share whose units (single weights, blocks) are kept or taken each on its own.

O output channels, I input channels; U units of a layer with E weights each.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from eyas.pruning.sparsity.base import Sparsity
from eyas.pruning.sparsity.erdos_renyi_kernel import erk_kept


class FreeUnits(Sparsity):
    """The units of least magnitude become zero, an exact number of them."""

    zeros: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of the weights that become zero, in layers that have the pattern; one unit of each layer stays."""
    scope: Literal["layer", "erk"] = "layer"
    """Whether each layer loses the same share, or small layers less and large ones more, by the Erdos-Renyi kernel
    (arXiv:1911.11134), at the same share of all."""

    @property
    def share(self) -> float:
        """As ``zeros`` says."""
        return self.zeros

    def units(self, weight: Tensor) -> Tensor:
        """The entries of a weight ``(O, I, *kernel)`` by unit, ``(U, E)``."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its units are")

    def spread(self, units_U: Tensor, weight: Tensor) -> Tensor:
        """One value per unit, for every entry of ``weight``: the way back of :meth:`units`."""
        raise NotImplementedError(f"{type(self).__name__} does not say where its units lie")

    def magnitudes(self, weight: Tensor) -> Tensor:
        """Sum of absolute weights of each unit, ``(U,)``."""
        return self.units(weight.detach().abs()).sum(1)

    def mask(self, weight: Tensor) -> Tensor:
        """All but the least units, by magnitude."""
        return self.masks_at({"": weight}, self.share)[""]

    def masks(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same of the weights of several layers, by name."""
        return self.masks_at(weights, self.share)

    def masks_at(self, weights: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
        """With another share of zeros, of each layer alone."""
        magnitudes = {name: self.magnitudes(weight) for name, weight in weights.items()}
        units = {name: len(units_U) for name, units_U in magnitudes.items()}
        kept = {name: num_kept(number, share) for name, number in units.items()}
        if self.scope == "erk" and weights:
            total = sum(units.values())
            kept = erk_kept(weights, units, max(len(units), num_kept(total, share)))
        return {name: self.spread(largest(units_U, kept[name]), weights[name]) for name, units_U in magnitudes.items()}


def num_kept(units: int, share: float) -> int:
    """How many of a number of units stay; one at least."""
    return max(1, units - round(share * units))


def largest(values_U: Tensor, number: int) -> Tensor:
    """Which are the ``number`` largest, as truth values; of equal ones the first."""
    chosen_U = torch.zeros_like(values_U, dtype=torch.bool)
    chosen_U[values_U.argsort(descending=True, stable=True)[:number]] = True
    return chosen_U
