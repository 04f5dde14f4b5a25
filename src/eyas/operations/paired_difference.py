"""Two networks on the same images: who is better, by how much, and how well that is known; for any task."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from eyas.operations.paired_counts import PairedCounts
from eyas.operations.paired_estimate import PairedEstimate

if TYPE_CHECKING:
    from torch import Tensor

PairedDifference = PairedCounts | PairedEstimate
"""Of accuracies, by images that one network alone is right on; of mean IoUs, by an estimate and its error."""


class JudgedAnswers(Protocol):
    """What became of N images."""

    @property
    def correct(self) -> "Tensor":
        """Whether each is right, ``(N,)``; of no meaning where each pixel has an answer."""

    @property
    def overlap(self) -> "Tensor":
        """Of answers per pixel, ``(2, N, K)``: :func:`eyas.data.tasks.class_overlap`; empty without."""


def compare(first: JudgedAnswers, second: JudgedAnswers) -> PairedDifference:
    """From the first network to the second, which answered the same images."""
    if first.overlap.numel():
        return PairedEstimate.of(first.overlap, second.overlap)
    return PairedCounts.of(first.correct.numpy(), second.correct.numpy())


def recorded(metrics: Mapping[str, float], name: str, images: str) -> PairedDifference | None:
    """A comparison again, as its ``metrics()`` were recorded.

    Args:
        metrics: of a stage.
        name: what stands before its own, such as ``test``.
        images: the metric that counts the images.
    """
    counts, estimate = (f"{name}_gained", f"{name}_lost"), (f"{name}_difference", f"{name}_difference_error")
    if images in metrics and all(part in metrics for part in counts):
        right = "as the dense network does" if f"{name}_agreement" in metrics else "right"
        gained, lost = (int(metrics[part]) for part in counts)
        return PairedCounts(int(metrics[images]), gained, lost, right)
    if images in metrics and all(part in metrics for part in estimate):
        return PairedEstimate(int(metrics[images]), *(metrics[part] for part in estimate))
    return None
