"""Two networks on the same images: by how much their accuracy differs, and how well that is known."""

import math
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

DEVIATIONS_95 = 1.96
"""Standard errors to each side of an interval that holds the true difference in 95 of 100 cases."""


@dataclass(frozen=True)
class PairedCounts:
    """Images that exactly one of two networks answers right; all others say nothing about their difference."""

    images: int
    gained: int
    """Right only by the second."""
    lost: int
    """Right only by the first."""
    right: str = "right"
    """What right is, as an adverb."""

    @classmethod
    def of(cls, first: NDArray[Any], second: NDArray[Any]) -> "PairedCounts":
        """From right and wrong answers to the same images, each ``(N,)``."""
        first, second = first.astype(bool), second.astype(bool)
        return cls(len(first), int((second & ~first).sum()), int((first & ~second).sum()))

    @property
    def difference(self) -> float:
        """Accuracy of the second less that of the first; NaN on no images."""
        return (self.gained - self.lost) / self.images if self.images else math.nan

    def interval(self, deviations: float = DEVIATIONS_95) -> tuple[float, float]:
        r"""Where the true difference lies (Agresti and Min 2005, Stat. Med. 24:729, the adjusted Wald interval).

        .. math:: d \pm z \sqrt{g + l + 1 - (g - l)^2 / (n + 2)} / (n + 2), \quad d = (g - l) / (n + 2)

        Half an image is added to each of the four cells, so that few images or equal answers do not look certain.
        """
        images, net = self.images + 2, self.gained - self.lost
        error = math.sqrt(self.gained + self.lost + 1 - net**2 / images) / images
        return max(net / images - deviations * error, -1.0), min(net / images + deviations * error, 1.0)

    def images_to_reach(self, least: float, deviations: float = DEVIATIONS_95) -> float:
        r"""How many images, answered alike, would bring the lower end of the interval to ``least``.

        With rates :math:`g/n` and :math:`l/n` as they are, :math:`N(d - least) = z \sqrt{N(g/n + l/n - d^2) + 1}`;
        infinite where the difference itself does not lie above ``least``, however many there are.
        """
        room = self.difference - least
        if not room > 0:
            return math.inf
        spread = deviations**2 * ((self.gained + self.lost) / self.images - self.difference**2)
        return (spread + math.sqrt(spread**2 + (2 * room * deviations) ** 2)) / (2 * room**2)

    @property
    def mirrored(self) -> "PairedCounts":
        """The same with the networks exchanged."""
        return replace(self, gained=self.lost, lost=self.gained)

    def metrics(self) -> dict[str, int]:
        """What tells it again: see :func:`eyas.operations.paired_difference.recorded`."""
        return {"gained": self.gained, "lost": self.lost}

    @property
    def words(self) -> str:
        """The images behind a difference: what a percentage of few of them stands for."""
        return f"{self.details} of {test_images(self.images)}"

    @property
    def net(self) -> str:
        """The same behind a difference in points."""
        return f"which is {abs(self.gained - self.lost):,} of {test_images(self.images)} ({self.details})"

    @property
    def standing(self) -> str:
        """What the second network does better or worse, as a verb and its object."""
        net = self.gained - self.lost
        change = "fewer" if net < 0 else "more"
        return f"answers {abs(net):,} {change} of {test_images(self.images)} {self.right}"

    @property
    def details(self) -> str:
        """What a difference is made of."""
        return f"{self.gained} gained, {self.lost} lost"


def test_images(count: int) -> str:
    """So many, in words."""
    return f"{count:,} test image{'' if count == 1 else 's'}"


def in_points(share: float) -> str:
    """A share as so many points, in words."""
    return f"{100 * share:g} point{'' if share == 0.01 else 's'}"


def about(images: float) -> str:
    """A number of images with two digits, rounded up."""
    step = 10.0 ** max(math.floor(math.log10(images)) - 1, 0)
    return f"about {math.ceil(images / step - 1e-9) * step:,.0f}"
