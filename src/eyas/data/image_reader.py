"""Images of an index, read file by file and decoded by a few threads."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from eyas.data.formats import Format
from eyas.data.formats.masks import Masks
from eyas.data.payload import Payload, content_hash
from eyas.errors import ChecksumError, DataError
from eyas.parallel import ordered_map

Pixels = NDArray[np.uint8]
"""A decoded image, (C, H, W)."""
Result = TypeVar("Result")


@dataclass(frozen=True)
class ImageLocation:
    """Where one image stands."""

    file: str
    row: int

    def __str__(self) -> str:
        return self.file if self.row < 0 else f"{self.file} row {self.row}"


@dataclass(frozen=True)
class ImageReader:
    """Reads images of a data set's files."""

    root: Path
    """The folder that file names are relative to."""
    formats: Mapping[str, Format]
    """The format by a file's top folder (``train``, ``test``)."""
    threads: int = 2

    def each(
        self, locations: Sequence[ImageLocation], work: Callable[[ImageLocation, Payload], Result]
    ) -> Iterator[tuple[int, Result]]:
        """``work`` on every image, in the order of files and rows; yields (position in ``locations``, result)."""

        def work_on(item: tuple[int, Payload | None]) -> tuple[int, Result]:
            position, payload = item
            location = locations[position]
            return position, work(location, self.load(location) if payload is None else payload)

        return ordered_map(work_on, self._payloads(locations), threads=self.threads, ahead=64 * self.threads)

    def _payloads(self, locations: Sequence[ImageLocation]) -> Iterator[tuple[int, Payload | None]]:
        """Payloads of files with rows; None for a file that is one image (its worker reads it)."""
        order = sorted(range(len(locations)), key=lambda position: (locations[position].file, locations[position].row))
        start = 0
        while start < len(order):
            file, stop = locations[order[start]].file, start
            while stop < len(order) and locations[order[stop]].file == file:
                stop += 1
            if locations[order[start]].row < 0:
                yield from ((position, None) for position in order[start:stop])
            else:
                rows = [locations[position].row for position in order[start:stop]]
                yield from zip(order[start:stop], self._format(file).read(self.root / file, rows), strict=True)
            start = stop

    def load(self, location: ImageLocation) -> Payload:
        """One image on its own: cheap where a file is one image, a search where it is a table.

        Raises:
            DataError: its file is missing.
        """
        try:
            return next(self._format(location.file).read(self.root / location.file, [location.row]))
        except FileNotFoundError as error:
            msg = f"{location.file} is missing from {self.root}: run the fetch stage again"
            raise DataError(msg) from error

    def masks_of(self, file: str) -> Masks:
        """The format of a file that is a mask."""
        member = self._format(file)
        assert isinstance(member, Masks)
        return member

    def _format(self, file: str) -> Format:
        return self.formats[file.split("/", 1)[0]]


def check_content(payload: Payload, location: ImageLocation, expected: str) -> None:
    """Compare an image with its digest in the index.

    Raises:
        ChecksumError: they differ.
    """
    digest = content_hash(payload)
    if digest != expected:
        change = f"sha256 {digest[:12]}..., expected {expected[:12]}..."
        msg = f"{location} changed since it was fetched: {change}; fetch again"
        raise ChecksumError(msg)
