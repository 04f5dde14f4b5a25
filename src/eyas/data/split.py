"""The images of one split as tensors, from memory or decoded while they are used.

N images, B per batch, C channels, H height, W width. Images stay unsigned bytes until they are normalised, on
whatever device they are by then.
"""

import copy
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from eyas.data.decoding import Preprocessing
from eyas.data.image_reader import ImageLocation, ImageReader, Pixels, check_content
from eyas.data.mask_decoding import ClassNumbers, decode_mask
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

    def mask(self, mask: "MaskFile", payload: Payload) -> ClassNumbers:
        """Decode one mask, after comparing its digest where that was not done for all files."""
        location = mask.location
        if not self.verified:
            check_content(payload, location, mask.sha256)
        return decode_mask(payload, str(location), self.decode, self.reader.masks_of(location.file))[0]

    def checked(self, location: ImageLocation, payload: Payload, digest: str) -> Pixels:
        """Decode one image, after comparing its digest where that was not done for the whole file."""
        if not self.verified:
            check_content(payload, location, digest)
        return self.decode(payload, str(location))


@dataclass(frozen=True)
class MaskFile:
    """The mask of one image."""

    location: ImageLocation
    sha256: str


class Split:
    """The images of one split, in the fixed order of their content hashes; with masks, a class per pixel."""

    def __init__(
        self, name: str, locations: Sequence[ImageLocation], digests: Sequence[str], labels: Tensor, store: ImageStore,
        *, masks: Sequence[MaskFile] = (),
    ) -> None:  # fmt: skip
        self.name = name
        self._labels = labels
        self._masks = masks
        self._locations = locations
        self._digests = digests
        self._store = store
        self._cache = torch.empty((0, *store.decode.shape), dtype=torch.uint8)
        self._mask_cache = torch.empty((0, *store.decode.shape[1:]), dtype=torch.int16)
        self._random_access: RandomAccessImages | None = None

    def __len__(self) -> int:
        return len(self._locations)

    @property
    def labels(self) -> Tensor:
        """Class of each image, ``(N,)`` int64, or of each pixel, ``(N, H, W)`` int16; -100 where there is none."""
        return self.first_labels(len(self))

    def first_labels(self, count: int) -> Tensor:
        """Labels of the first images; masks are decoded once, and kept in memory."""
        if not self._masks:
            return self._labels[:count]
        wanted = min(count, len(self))
        if wanted > len(self._mask_cache):
            more = self._decode_masks(self._masks[len(self._mask_cache) : wanted])
            self._mask_cache = torch.cat([self._mask_cache, more])
        return self._mask_cache[:wanted]

    @property
    def digest(self) -> str:
        """Hash of the images and labels in this split."""
        labels = [mask.sha256 for mask in self._masks] or self._labels.tolist()
        rows = (f"{sha256} {label}\n" for sha256, label in zip(self._digests, labels, strict=True))
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

    def images_at(self, positions: Sequence[int]) -> Tensor:
        """The images at these positions alone, shape (N, C, H, W); nothing is kept in memory."""
        return self._decode(positions)

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
        return Split(self.name, self._locations, self._digests, self._labels, store, masks=self._masks)

    def labelled(self, labels: Tensor) -> "Split":
        """The same images with these labels ``(N,)`` in place of their own."""
        other = copy.copy(self)
        other._labels, other._masks = labels, ()
        return other

    def batches(self, batch_size: int, order: Tensor | Sequence[int] | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of (images (B, C, H, W) as unsigned bytes, labels (B,) or (B, H, W)); the last may be smaller.

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
            yield images, self._labels_of(chosen)

    @property
    def fits_memory(self) -> bool:
        """Whether all decoded images stay below the memory limit."""
        channels, height, width = self._store.decode.shape
        bytes_per_pixel = channels + (self._mask_cache.element_size() if self._masks else 0)
        return len(self) * bytes_per_pixel * height * width <= self._store.memory_limit

    def _decode(self, positions: Sequence[int]) -> Tensor:
        """Decode some images of the split."""
        result = torch.empty((len(positions), *self._store.decode.shape), dtype=torch.uint8)
        target = result.numpy()
        digests = [self._digests[position] for position in positions]
        locations = [self._locations[position] for position in positions]
        for position, pixels in self._store.decoded(locations, digests):
            target[position] = pixels
        return result

    def _decode_masks(self, masks: Sequence[MaskFile]) -> Tensor:
        """Class numbers of every pixel."""
        result = torch.empty((len(masks), *self._store.decode.shape[1:]), dtype=torch.int16)
        target = result.numpy()
        expected = {mask.location: mask for mask in masks}
        locations = [mask.location for mask in masks]
        decode = self._store.mask
        for position, numbers in self._store.reader.each(locations, lambda at, data: decode(expected[at], data)):
            target[position] = numbers
        return result

    def _labels_of(self, positions: Tensor) -> Tensor:
        """Labels of some images, read anew where they are masks."""
        if not self._masks:
            return self._labels[positions]
        return self._decode_masks([self._masks[position] for position in positions.tolist()])

    def _stream(self, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Decode batch by batch from storage that gives any image at once."""
        if self._random_access is None:
            self._random_access = RandomAccessImages(self._store.reader, self._locations)
        decode, locations, digests, images = self._store.checked, self._locations, self._digests, self._random_access
        for chosen, arrays in images.batches(batches, lambda at, data: decode(locations[at], data, digests[at])):
            yield chosen, torch.from_numpy(np.stack(arrays))
