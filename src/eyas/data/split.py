"""The images of one split as tensors, from memory or decoded while they are used.

N images, B per batch, C channels, H height, W width. Images stay unsigned bytes until they are normalised, on
whatever device they are by then.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from eyas.data.decoding import Preprocessing
from eyas.data.image_reader import ImageLocation, ImageReader, Pixels, check_content
from eyas.data.payload import Payload
from eyas.data.random_access import RandomAccessImages


@dataclass(frozen=True)
class ImageStore:
    """What the splits of a data set share: files, decoding, limits."""

    reader: ImageReader
    decode: Preprocessing
    memory_limit: int
    verified: bool
    """The files' digests were compared at opening; else each image is checked when it is decoded."""

    def decoded(self, locations: Sequence[ImageLocation], digests: Sequence[str]) -> Iterator[tuple[int, Pixels]]:
        """(position, pixels) of every location, in the order of the files."""
        if self.verified:
            return self.reader.each(locations, lambda location, payload: self.decode(payload, str(location)))
        expected = dict(zip(locations, digests, strict=True))
        return self.reader.each(
            locations, lambda location, payload: self.checked(location, payload, expected[location])
        )

    def checked(self, location: ImageLocation, payload: Payload, digest: str) -> Pixels:
        """Decode one image, after comparing its digest where that was not done for the whole file."""
        if not self.verified:
            check_content(payload, location, digest)
        return self.decode(payload, str(location))


class Split:
    """The images of one split, in the fixed order of their content hashes."""

    def __init__(
        self, name: str, locations: Sequence[ImageLocation], digests: Sequence[str], labels: Tensor, store: ImageStore
    ) -> None:
        self.name = name
        self.labels = labels
        self._locations = locations
        self._digests = digests
        self._store = store
        self._cache = torch.empty((0, *store.decode.shape), dtype=torch.uint8)
        self._random_access: RandomAccessImages | None = None

    def __len__(self) -> int:
        return len(self._locations)

    @property
    def digest(self) -> str:
        """Hash of the images and labels in this split."""
        rows = (f"{sha256} {label}\n" for sha256, label in zip(self._digests, self.labels.tolist(), strict=True))
        return hashlib.sha256("".join(rows).encode()).hexdigest()

    def images(self, limit: int | None = None) -> Tensor:
        """The first ``limit`` images, all without a limit: unsigned bytes, shape (N, C, H, W).

        Decoded once and kept in memory. The order is that of content hashes, so the first so many are a random
        but fixed subset.
        """
        wanted = len(self) if limit is None else min(limit, len(self))
        if wanted > len(self._cache):
            more = self._decode(range(len(self._cache), wanted))
            self._cache = torch.cat([self._cache, more]) if len(self._cache) else more
        return self._cache[:wanted]

    def upright(self, limit: int) -> list[Pixels]:
        """The first ``limit`` images before they are resized, each ``(H, W, C)`` of its own size."""

        def read(location: ImageLocation, payload: Payload) -> Pixels:
            return self._store.decode.upright(payload, str(location))

        images = dict(self._store.reader.each(self._locations[:limit], read))
        return [images[position] for position in sorted(images)]

    def decoded_as(self, shape: tuple[int, int, int], resize: int | None) -> "Split":
        """The same images for a network that takes another ``shape`` (C, H, W), or another ``resize`` before a crop.

        Raises:
            DataError: there are no such images.
        """
        channels, size, _ = shape
        decode = replace(self._store.decode, channels=channels, size=size, resize=resize)
        if decode == self._store.decode:
            return self
        store = replace(self._store, decode=decode)
        return Split(self.name, self._locations, self._digests, self.labels, store)

    def batches(self, batch_size: int, order: Tensor | Sequence[int] | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of (images (B, C, H, W) as unsigned bytes, labels (B,)); the last may be smaller.

        ``order`` holds positions in the split, in the order they are wanted. A split that fits the memory limit
        comes from memory; a larger one is decoded while it is used, a few batches ahead.
        """
        positions = torch.arange(len(self)) if order is None else torch.as_tensor(order, dtype=torch.int64)
        if self.fits_memory:
            images = self.images()
            for chosen in torch.split(positions, batch_size):
                yield images[chosen], self.labels[chosen]
            return
        for chosen, images in self._stream(list(torch.split(positions, batch_size))):
            yield images, self.labels[chosen]

    @property
    def fits_memory(self) -> bool:
        """Whether all decoded images stay below the memory limit."""
        channels, height, width = self._store.decode.shape
        return len(self) * channels * height * width <= self._store.memory_limit

    def _decode(self, positions: range) -> Tensor:
        """Decode a stretch of the split."""
        result = torch.empty((len(positions), *self._store.decode.shape), dtype=torch.uint8)
        target = result.numpy()
        digests = self._digests[positions.start : positions.stop]
        locations = self._locations[positions.start : positions.stop]
        for position, pixels in self._store.decoded(locations, digests):
            target[position] = pixels
        return result

    def _stream(self, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Decode batch by batch from storage that gives any image at once."""
        if self._random_access is None:
            self._random_access = RandomAccessImages(self._store.reader, self._locations)
        decode, locations, digests, images = self._store.checked, self._locations, self._digests, self._random_access
        for chosen, arrays in images.batches(batches, lambda at, data: decode(locations[at], data, digests[at])):
            yield chosen, torch.from_numpy(np.stack(arrays))
