"""What training and evaluation read: images and labels in batches, in any order.

N images in a split, n in a batch, C channels, H x W pixels.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from eyas.data.tasks import Task

Prepare = Callable[[Tensor], Tensor]


class LabelledImages(Protocol):
    """Labelled images; large sets stream theirs from disk."""

    @property
    def task(self) -> Task | None:
        """What the labels are for; None where their shape tells it."""

    @property
    def labels(self) -> Tensor:
        """Class of each image, shape ``(N,)``, int64."""

    def batches(self, batch_size: int, order: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Images ``(n, C, H, W)`` as they are stored and labels ``(n,)``, in ``order`` (positions)."""

    def prepare(self, images_NCHW: Tensor) -> Tensor:
        """What the network sees: stored images, already on the device, as normalised floats."""

    def to(self, device: torch.device) -> "LabelledImages":
        """The same split, on the device where it fits there."""

    def __len__(self) -> int:
        """Number of images."""


@dataclass(frozen=True)
class TensorSplit:
    """Labelled images that lie in memory, on any device."""

    images: Tensor
    """Shape ``(N, C, H, W)``: normalised floats, or what ``normalise`` takes."""
    labels: Tensor
    """Shape ``(N,)``, int64."""
    normalise: Prepare | None = None
    """Turns stored images into what the network sees."""
    task: Task | None = None
    """What labels are; a kind, or a mapping with its options, becomes the member."""

    def __post_init__(self) -> None:
        """The member of what was given as ``task``.

        Raises:
            ParameterError: there is no such task, or it takes no such options.
        """
        object.__setattr__(self, "task", None if self.task is None else Task.parse(self.task))

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    def batches(self, batch_size: int, order: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Slices, or gathered rows where an ``order`` is given."""
        if order is None:
            for start in range(0, len(self), batch_size):
                yield self.images[start : start + batch_size], self.labels[start : start + batch_size]
            return
        for rows in torch.split(order, batch_size):
            here = rows.to(self.images.device)
            yield self.images[here], self.labels[here]

    def prepare(self, images_NCHW: Tensor) -> Tensor:
        """Normalised images."""
        return images_NCHW if self.normalise is None else self.normalise(images_NCHW)

    def to(self, device: torch.device) -> "TensorSplit":
        """The same split on another device."""
        return TensorSplit(self.images.to(device), self.labels.to(device), self.normalise, self.task)


class StoredImages(Protocol):
    """What a split of :mod:`eyas.data` offers."""

    labels: Tensor

    @property
    def fits_memory(self) -> bool:
        """Whether all images may be held decoded."""

    def images(self, limit: int | None = None) -> Tensor:
        """Unsigned bytes, shape ``(N, C, H, W)``."""

    def batches(self, batch_size: int, order: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Unsigned bytes and labels, in ``order``."""

    def __len__(self) -> int:
        """Number of images."""


@dataclass(frozen=True)
class StoredSplit:
    """A split of a fetched data set: bytes, decoded once or while they are used."""

    source: StoredImages
    normalise: Prepare
    """Turns bytes into what the network sees."""
    task: Task | None = None

    @property
    def labels(self) -> Tensor:
        """Class of each image, shape ``(N,)``."""
        return self.source.labels

    def __len__(self) -> int:
        """Number of images."""
        return len(self.source)

    def batches(self, batch_size: int, order: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Unsigned bytes ``(n, C, H, W)`` and labels."""
        return self.source.batches(batch_size, order)

    def prepare(self, images_NCHW: Tensor) -> Tensor:
        """Normalised images."""
        return self.normalise(images_NCHW)

    def to(self, device: torch.device) -> "LabelledImages":
        """On an accelerator in memory, as bytes, where it fits in memory at all."""
        if device.type == "cpu" or not self.source.fits_memory:
            return self
        return TensorSplit(self.source.images().to(device), self.labels.to(device), self.normalise, self.task)
