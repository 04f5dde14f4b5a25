"""All zeros before the first step."""

from typing import TYPE_CHECKING, Literal

from eyas.training.sparsifiers.base import Sparsifier

if TYPE_CHECKING:
    from eyas.training.masked_weights import MaskedWeights


class AtOnce(Sparsifier):
    """All zeros before the first step, held while the rest is trained (Han et al. 2015, arXiv:1506.02626).

    Use it first, and for few epochs: all of them train the network as it will be.
    """

    kind: Literal["at_once"] = "at_once"

    def steps(self, total: int) -> int:
        """None."""
        del total
        return 0

    def __call__(self, weights: "MaskedWeights", step: int, steps: int) -> None:
        """The pattern's masks."""
        del step, steps
        weights.set_masks(weights.sparsity.masks(weights.weights))
