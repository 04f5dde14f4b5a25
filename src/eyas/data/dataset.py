"""A fetched data set as tensors.

N images, B per batch, C channels, H height, W width. Images stay unsigned bytes until they are normalised, on
whatever device they are by then.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from eyas.data.decoding import Preprocessing
from eyas.data.formats import Format, Payload
from eyas.data.image_reader import Pixels, Place, Reader, check_content
from eyas.data.manifest import FILES, INDEX, Manifest, Row, check_files, read_index, read_manifest
from eyas.data.random_access import Spill
from eyas.data.split_assignment import SPLITS
from eyas.errors import DataError

MEMORY_LIMIT = 4 * 2**30
HASH_LIMIT = 4 * 2**30


class Split:
    """The images of one split, in the fixed order of their content hashes."""

    def __init__(
        self, name: str, places: Sequence[Place], digests: Sequence[str], labels: Tensor, source: "Source"
    ) -> None:
        self.name = name
        self.labels = labels
        self._places = places
        self._digests = digests
        self._source = source
        self._cache = torch.empty((0, *source.decode.shape), dtype=torch.uint8)
        self._spill: Spill | None = None

    def __len__(self) -> int:
        return len(self._places)

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
        channels, height, width = self._source.decode.shape
        return len(self) * channels * height * width <= self._source.memory_limit

    def _decode(self, positions: range) -> Tensor:
        """Decode a stretch of the split."""
        result = torch.empty((len(positions), *self._source.decode.shape), dtype=torch.uint8)
        target = result.numpy()
        digests = self._digests[positions.start : positions.stop]
        places = self._places[positions.start : positions.stop]
        for position, pixels in self._source.decoded(places, digests):
            target[position] = pixels
        return result

    def _stream(self, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Decode batch by batch from storage that gives any image at once."""
        if self._spill is None:
            self._spill = Spill(self._source.reader, self._places)
        decode, places, digests, spill = self._source.checked, self._places, self._digests, self._spill
        for chosen, arrays in spill.batches(batches, lambda at, data: decode(places[at], data, digests[at])):
            yield chosen, torch.from_numpy(np.stack(arrays))


@dataclass(frozen=True)
class Source:
    """What the splits of a data set share: files, decoding, limits."""

    reader: Reader
    decode: Preprocessing
    memory_limit: int
    verified: bool
    """The files' digests were compared at opening; else each image is checked when it is decoded."""

    def decoded(self, places: Sequence[Place], digests: Sequence[str]) -> Iterator[tuple[int, Pixels]]:
        """(position, pixels) of every place, in the order of the files."""
        if self.verified:
            return self.reader.each(places, lambda place, payload: self.decode(payload, str(place)))
        expected = dict(zip(places, digests, strict=True))
        return self.reader.each(places, lambda place, payload: self.checked(place, payload, expected[place]))

    def checked(self, place: Place, payload: Payload, digest: str) -> Pixels:
        """Decode one image, after comparing its digest where that was not done for the whole file."""
        if not self.verified:
            check_content(payload, place, digest)
        return self.decode(payload, str(place))


@dataclass(frozen=True)
class Dataset:
    """A fetched and verified data set."""

    folder: Path
    manifest: Manifest
    splits: dict[str, Split]
    _moments: dict[torch.device, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names by label."""
        return self.manifest.classes

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.manifest.classes)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        image = self.manifest.image
        return image.channels, image.size, image.size

    @property
    def mean(self) -> tuple[float, ...]:
        """Per channel, of pixel values in [0, 1]."""
        return self.manifest.mean

    @property
    def std(self) -> tuple[float, ...]:
        """Per channel, of pixel values in [0, 1]."""
        return self.manifest.std

    @property
    def digest(self) -> str:
        """The data set's hash: images, labels, splits, classes, decoding and normalisation."""
        return self.manifest.digest

    def split(self, name: str) -> Split:
        """One of ``train``, ``calibration``, ``score``, ``test``.

        Raises:
            DataError: there is no such split.
        """
        if name not in self.splits:
            msg = f"no split {name!r}: there are {', '.join(self.splits)}"
            raise DataError(msg)
        return self.splits[name]

    def normalise(self, images: Tensor) -> Tensor:
        """(pixels / 255 - mean) / std as float32, same shape (N, C, H, W), on the device of ``images``."""
        if images.device not in self._moments:
            shape = (len(self.mean), 1, 1)
            mean = torch.tensor(self.mean, device=images.device).view(shape)
            std = torch.tensor(self.std, device=images.device).view(shape)
            self._moments[images.device] = mean, std
        mean, std = self._moments[images.device]
        return images.to(torch.float32).div_(255).sub_(mean).div_(std)


def open_dataset(
    folder: Path | str, *, threads: int = 2, memory_limit: int = MEMORY_LIMIT, hash_limit: int = HASH_LIMIT
) -> Dataset:
    """Open and verify what the fetch stage left.

    Args:
        folder: ``artifacts/fetch``.
        threads: decode images.
        memory_limit: bytes of decoded images that one split may keep in memory.
        hash_limit: files of more bytes in all are not hashed here; each image is then checked when it is read.

    Raises:
        ChecksumError: a file is missing, truncated or changed; names it.
        DataError: there is no data set.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    verified = check_files(folder, manifest, hash_limit=hash_limit)
    formats = {part: Format.parse(options) for part, options in manifest.formats.items()}
    image = manifest.image
    source = Source(
        Reader(folder / FILES, formats, threads),
        Preprocessing(image.channels, image.size, image.resize),
        memory_limit,
        verified,
    )
    return Dataset(folder, manifest, _read_splits(folder / INDEX, source))


def _read_splits(path: Path, source: Source) -> dict[str, Split]:
    """The splits of an index, each in the order of its images' digests."""
    rows: dict[str, list[Row]] = {name: [] for name in SPLITS}
    for row in read_index(path):
        rows[row.split].append(row)
    return {
        name: Split(
            name,
            [Place(row.file, row.row) for row in chosen],
            [row.sha256 for row in chosen],
            torch.tensor([row.label for row in chosen], dtype=torch.int64),
            source,
        )
        for name, chosen in rows.items()
    }
