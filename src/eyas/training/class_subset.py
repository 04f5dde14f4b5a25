"""A part of the labelled images, with the shares of the classes as they are.

N images in a split, n in a batch, C channels, H x W pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from eyas.data.tasks import Task
from eyas.training.labelled_images import LabelledImages


def class_subset(labels: Tensor, fraction: float, seed: int) -> Tensor:
    """Rows of ``fraction`` of the images of each class, drawn at random (arXiv:2403.07854), ascending; one at least.

    Whatever the share, those of a smaller one are among them. Where each pixel has a class, images are of one kind.

    Args:
        labels: classes, ``(N,)``; masks ``(N, H, W)``.
        fraction: of each class.
        seed: of the draw.
    """
    order_N = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    classes_N = labels.cpu()[order_N] if labels.ndim == 1 else torch.zeros(len(labels), dtype=torch.long)
    rows = [order_N[classes_N == number] for number in torch.unique(classes_N)]
    return torch.cat([of_class[: max(1, round(fraction * len(of_class)))] for of_class in rows]).sort().values


def part_of(split: LabelledImages, fraction: float, seed: int = 0) -> LabelledImages:
    """``fraction`` of a split's images as :func:`class_subset` draws them; their number does not depend on the seed."""
    return split if fraction == 1 else PartialSplit(split, class_subset(split.labels, fraction, seed))


@dataclass(frozen=True)
class PartialSplit:
    """Some images of a split."""

    whole: LabelledImages
    rows: Tensor
    """Which, ``(N,)``."""

    @property
    def task(self) -> Task | None:
        """As of the whole."""
        return self.whole.task

    @cached_property
    def labels(self) -> Tensor:
        """Class of each image, ``(N,)``."""
        return self.whole.labels[self.rows.to(self.whole.labels.device)]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.rows)

    def batches(self, batch_size: int, order: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Images ``(n, C, H, W)`` as they are stored and labels ``(n,)``, in ``order`` (positions among these)."""
        yield from self.whole.batches(batch_size, self.rows if order is None else self.rows[order])

    def prepare(self, images_NCHW: Tensor) -> Tensor:
        """Normalised images."""
        return self.whole.prepare(images_NCHW)

    def to(self, device: torch.device) -> "PartialSplit":
        """The same images, on the device where they fit there."""
        return PartialSplit(self.whole.to(device), self.rows)
