"""Two networks on the same images: by how much their mean IoU differs, and how well that is known.

A mean IoU is no mean over images: intersections and unions are summed over all of them first. So its error is that of
the jackknife, which leaves out one image after another, and pairs them: both networks lose the same image.

N images, K classes.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from eyas.operations.paired_counts import DEVIATIONS_95, test_images

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PairedEstimate:
    """A difference of mean IoU, measured on images that both networks answered."""

    images: int
    difference: float
    """Mean IoU of the second less that of the first."""
    error: float
    """Its standard error."""

    @classmethod
    def of(cls, first_2NK: "Tensor", second_2NK: "Tensor") -> "PairedEstimate":
        r"""From the overlaps of both with the same labels, as :func:`eyas.data.tasks.class_overlap` gives them.

        The error is :math:`\sqrt{(n - 1) / n \sum_i (d_{(i)} - \bar d)^2}`, where :math:`d_{(i)}` is the difference
        without image i (Efron and Stein 1981, Ann. Stat. 9:586, equation 1.1). Where that is 0, because no image
        differs, it is taken as :math:`1 / (n + 2)`, which :class:`PairedCounts` says of equal answers; of a single
        image nothing is known.
        """
        first, second, images = first_2NK.numpy(), second_2NK.numpy(), first_2NK.shape[1]
        difference = float(_mean_iou(second.sum(1)) - _mean_iou(first.sum(1)))
        if images < 2:
            return cls(images, difference, 1.0)
        without_N = _without_each(second) - _without_each(first)
        error = math.sqrt((images - 1) * float(without_N.var()))
        return cls(images, difference, error or 1 / (images + 2))

    @property
    def mirrored(self) -> "PairedEstimate":
        """The same with the networks exchanged."""
        return PairedEstimate(self.images, -self.difference, self.error)

    def interval(self, deviations: float = DEVIATIONS_95) -> tuple[float, float]:
        """Where the true difference lies: so many standard errors to each side, more of them with few images."""
        half = _student(deviations, self.images - 1) * self.error
        return max(self.difference - half, -1.0), min(self.difference + half, 1.0)

    def images_to_reach(self, least: float, deviations: float = DEVIATIONS_95) -> float:
        """How many images like these would bring the lower end of the interval to ``least``; infinite if none would."""
        room = self.difference - least
        return self.images * (deviations * self.error / room) ** 2 if room > 0 else math.inf

    def metrics(self) -> dict[str, float]:
        """What tells it again: see :func:`eyas.operations.paired_difference.recorded`."""
        return {"difference": self.difference, "difference_error": self.error}

    @property
    def words(self) -> str:
        """What stands behind a difference."""
        return f"mean IoU on {test_images(self.images)}"

    @property
    def net(self) -> str:
        """The same behind a difference in points."""
        return f"in mean IoU on {test_images(self.images)}"

    @property
    def standing(self) -> str:
        """What the second network does better or worse, as a verb and its object."""
        change = "higher" if self.difference >= 0 else "lower"
        return f"has a mean IoU that is {100 * abs(self.difference):.2f} points {change} on {test_images(self.images)}"

    @property
    def details(self) -> str:
        """How well a difference is known."""
        return f"standard error {100 * self.error:.2f} points"


def _mean_iou(overlap_2xK: NDArray[np.int64]) -> Floats:
    """Mean over the classes that occur, on the last axis."""
    intersection_xK, union_xK = overlap_2xK.astype(np.float64)
    there_xK = union_xK > 0
    iou_xK = np.divide(intersection_xK, union_xK, out=np.zeros_like(union_xK), where=there_xK)
    mean_x: Floats = iou_xK.sum(-1) / np.maximum(there_xK.sum(-1), 1)
    return mean_x


def _without_each(overlap_2NK: NDArray[np.int64]) -> Floats:
    """Mean IoU of all images but one, ``(N,)``."""
    return _mean_iou(overlap_2NK.sum(1, keepdims=True) - overlap_2NK)


def _student(deviations: float, freedom: int) -> float:
    """The quantile of Student's t that has the tail of so many normal deviations.

    By the expansion of Cornish and Fisher (Abramowitz and Stegun 1964, 26.7.5), to the second order.
    """
    z, nu = deviations, max(freedom, 1)
    return z + (z**3 + z) / (4 * nu) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * nu**2)
