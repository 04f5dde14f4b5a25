"""Single weights of least magnitude."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from eyas.pruning.sparsity.free_units import FreeUnits, largest, num_kept


class Unstructured(FreeUnits):
    """Single weights of least magnitude become zero (Han et al. 2015, arXiv:1506.02626; Zhu & Gupta, arXiv:1710.01878).

    Use it to make the compressed file smaller, for downloads and updates: no other pattern is as free. No runtime that
    `eyas` exports to is faster with it. TensorFlow Lite with XNNPACK is, where all sparse layers are 1x1 convolutions
    and two thirds of their weights are zero; `eyas` writes no file for it.
    """

    kind: Literal["unstructured"] = "unstructured"
    scope: Literal["network", "layer", "erk"] = "network"  # type: ignore[assignment]
    """Whether weights of all layers are compared with each other, each layer loses the same share, or small layers lose
    less and large ones more, by the Erdos-Renyi kernel (arXiv:1911.11134)."""

    def units(self, weight: Tensor) -> Tensor:
        """Every entry is a unit."""
        return weight.reshape(-1, 1)

    def spread(self, units_U: Tensor, weight: Tensor) -> Tensor:
        """In the shape of the weight."""
        return units_U.reshape(weight.shape)

    def masks_at(self, weights: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
        """With another share of zeros, of all layers together or of each alone."""
        if self.scope != "network" or not weights:
            return super().masks_at(weights, share)
        magnitudes = [self.magnitudes(weight) for weight in weights.values()]
        for units_U in magnitudes:
            units_U[units_U.argmax()] = torch.inf  # one of each layer stays
        together = torch.cat(magnitudes)
        kept = largest(together, max(len(weights), num_kept(len(together), share)))
        split = torch.split(kept, [len(units_U) for units_U in magnitudes])
        return {name: self.spread(part, weights[name]) for name, part in zip(weights, split, strict=True)}
