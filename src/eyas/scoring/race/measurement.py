"""What scoring one candidate on one rung yields."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Measurement:
    """Means over a candidate's scoring images; NaN where there are no labels, or where outputs are not finite."""

    score: float
    """Mean over the images, higher is better."""
    standard_error: float
    """Of the score: standard deviation over images / sqrt(images)."""
    accuracy: float
    cross_entropy: float
    """In nats."""
    images: int
    """Scoring images seen in this rung."""
    image_scores: NDArray[np.float32] | None = None
    """Score of each image, ``(images,)``, for paired comparisons; not kept for candidates far behind."""

    def raised(self, by: float) -> Self:
        """The same with ``by`` added to the score of every image."""
        scores = None if self.image_scores is None else self.image_scores + np.float32(by)
        return replace(self, score=self.score + by, image_scores=scores)

    def times(self, factor: float) -> Self:
        """The same with the score of every image multiplied."""
        scores = None if self.image_scores is None else self.image_scores * np.float32(factor)
        error = self.standard_error * factor
        return replace(self, score=self.score * factor, standard_error=error, image_scores=scores)
