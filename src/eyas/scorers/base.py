"""The root of the scorers: what a scorer promises."""

from typing import Annotated, ClassVar

from pydantic import BeforeValidator, SerializeAsAny
from torch import Tensor

from eyas.component import Component


class Scorer(Component):
    """Turns a candidate's outputs into one number per image; their mean is its score, higher is better."""

    needs_labels: ClassVar[bool] = False
    needs_dense: ClassVar[bool] = False

    def __call__(self, logits_NK: Tensor, labels_N: Tensor | None, dense_NK: Tensor | None) -> Tensor:
        """Goodness of each image, shape ``(N,)``: N images, K classes."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it scores")


def per_image(goodness: Tensor) -> Tensor:
    """Mean over whatever follows the image axis (pixels, for a network that answers per pixel)."""
    return goodness if goodness.ndim == 1 else goodness.flatten(1).mean(1)


AnyScorer = Annotated[SerializeAsAny[Scorer], BeforeValidator(Scorer.parse)]
