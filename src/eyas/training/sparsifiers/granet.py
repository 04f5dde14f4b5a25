"""Zeros that become more from step to step, some of them drawn anew.

U units (single weights, blocks) of a layer.
"""

import math
from typing import TYPE_CHECKING, Annotated, Literal, cast

import torch
from pydantic import Field
from torch import Tensor

from eyas.errors import ParameterError
from eyas.pruning.sparsity import Sparsity
from eyas.pruning.sparsity.free_units import FreeUnits, largest
from eyas.training.sparsifiers.base import Sparsifier

if TYPE_CHECKING:
    from eyas.training.masked_weights import MaskedWeights

_LAST_REGROWTH = 0.005


class GraNet(Sparsifier):
    r"""Gradual magnitude pruning with regeneration (Liu et al. 2021, arXiv:2106.10404), from a dense network.

    Use it for nine tenths of zeros and more, with tens of epochs; for fewer of either ``at_once`` was as good. It comes
    to ``unstructured`` and ``one_by_n``.

    Every few steps the share of zeros rises to :math:`s (1 - (1 - t/n)^3)`; then each layer drops a share r of its
    smallest units, and as many grow, from zero, where the gradient is largest. r falls by the cosine to 0.005.
    """

    kind: Literal["granet"] = "granet"
    share: Annotated[float, Field(gt=0, lt=1)] = 0.7
    """Share of the steps after which the zeros are all there; the paper's 110 of 160 epochs."""
    every: Annotated[int, Field(ge=1)] = 20
    """Steps between two changes; the paper's 1000 are of trainings of 60,000 steps and more."""
    regrowth: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of a layer's units that is dropped and grown in the beginning; 0 is plain gradual pruning
    (arXiv:1710.01878)."""

    def check(self, sparsity: Sparsity) -> None:
        """Refuse patterns whose units are not free."""
        if not isinstance(sparsity, FreeUnits):
            free = ", ".join(kind for kind, member in Sparsity.members().items() if issubclass(member, FreeUnits))
            msg = f"sparsifier granet drops and grows single units, and sparsity {sparsity.kind} has none: take {free}"
            raise ParameterError(msg)

    def steps(self, total: int) -> int:
        """As ``share`` says."""
        return max(1, round(self.share * total))

    def reads_gradients(self, step: int, steps: int) -> bool:
        """Where units grow."""
        return self.regrowth > 0 and (step % self.every == 0 or step == steps)

    def zeros(self, final: float, step: int, steps: int) -> float:
        """The share of zeros after a step, ``final`` after the last."""
        return final * (1 - (1 - step / steps) ** 3)

    def rate(self, step: int, steps: int) -> float:
        """The share of units that are dropped and grown."""
        least = min(_LAST_REGROWTH, self.regrowth)
        return least + (self.regrowth - least) * (1 + math.cos(math.pi * step / steps)) / 2

    def __call__(self, weights: "MaskedWeights", step: int, steps: int) -> None:
        """Prune, drop and grow, every few steps and after the last."""
        if step % self.every and step != steps:
            return
        sparsity = cast("FreeUnits", weights.sparsity)
        weights.set_masks(sparsity.masks_at(weights.weights, self.zeros(sparsity.share, step, steps)))
        rate = self.rate(step, steps)
        if rate > 0:
            masks = {
                name: _regrown(sparsity, weights.weights[name], weights.masks[name], weights.gradients[name], rate)
                for name in weights.weights
                if name in weights.gradients  # none where the layer is frozen
            }
            weights.regrow(masks)


def _regrown(sparsity: FreeUnits, weight: Tensor, mask: Tensor, gradient: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    """The mask without what is dropped, and with what grows in its place."""
    active_U = sparsity.units(mask).any(1)
    number = min(math.ceil(rate * int(active_U.sum())), int(active_U.sum()))
    magnitudes_U = sparsity.magnitudes(weight).masked_fill(~active_U, torch.inf)
    left_U = active_U & ~largest(-magnitudes_U, number)
    growth_U = sparsity.magnitudes(gradient).masked_fill(left_U, -torch.inf)
    grown_U = left_U | largest(growth_U, number)
    return sparsity.spread(left_U, weight), sparsity.spread(grown_U, weight)
