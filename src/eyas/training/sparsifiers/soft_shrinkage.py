"""Weights that shrink a little in each step, and can recover, before they become zero."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from eyas.training.sparsifiers.base import Sparsifier

if TYPE_CHECKING:
    from eyas.training.masked_weights import MaskedWeights


class SoftShrinkage(Sparsifier):
    """Iterative soft shrinkage (Wang et al. 2023, arXiv:2303.09650): after each step, what the pattern takes shrinks.

    Use it for networks without batch-norm (super-resolution, as published); digits gained nothing over ``at_once``.
    The pattern is chosen anew in every step, until it is final: each of these steps sorts all weights.
    """

    kind: Literal["soft_shrinkage"] = "soft_shrinkage"
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of the steps that shrink; then the pattern's weights are zero."""
    factor: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """What such weights are multiplied by in each step; 0 is iterative hard thresholding."""

    def steps(self, total: int) -> int:
        """As ``share`` says."""
        return max(1, round(self.share * total))

    def __call__(self, weights: "MaskedWeights", step: int, steps: int) -> None:
        """Shrink, or after the last step mask."""
        masks = weights.sparsity.masks(weights.weights)
        if step == steps:
            weights.set_masks(masks)
            return
        for name, mask in masks.items():
            weights.scale(name, ~mask, self.factor)
