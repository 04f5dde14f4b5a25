"""Images of an index, read file by file and decoded by a few threads."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from eyas.data.formats import Format, Payload
from eyas.errors import ChecksumError, DataError
from eyas.parallel import ordered_map

Result = TypeVar("Result")


@dataclass(frozen=True)
class Place:
    """Where one image stands."""

    file: str
    row: int

    def __str__(self) -> str:
        return self.file if self.row < 0 else f"{self.file} row {self.row}"


@dataclass(frozen=True)
class Reader:
    """Reads images of a data set's files."""

    root: Path
    """The folder that file names are relative to."""
    formats: Mapping[str, Format]
    """The format by a file's top folder (``train``, ``test``)."""
    threads: int = 2

    def each(self, places: Sequence[Place], work: Callable[[Place, Payload], Result]) -> Iterator[tuple[int, Result]]:
        """``work`` on every image, in the order of files and rows; yields (position in ``places``, result)."""

        def one(item: tuple[int, Payload | None]) -> tuple[int, Result]:
            position, payload = item
            place = places[position]
            return position, work(place, self.load(place) if payload is None else payload)

        return ordered_map(one, self._payloads(places), threads=self.threads, ahead=64 * self.threads)

    def _payloads(self, places: Sequence[Place]) -> Iterator[tuple[int, Payload | None]]:
        """Payloads of files with rows; None for a file that is one image (its worker reads it)."""
        order = sorted(range(len(places)), key=lambda position: (places[position].file, places[position].row))
        start = 0
        while start < len(order):
            file, stop = places[order[start]].file, start
            while stop < len(order) and places[order[stop]].file == file:
                stop += 1
            if places[order[start]].row < 0:
                yield from ((position, None) for position in order[start:stop])
            else:
                rows = [places[position].row for position in order[start:stop]]
                yield from zip(order[start:stop], self._format(file).read(self.root / file, rows), strict=True)
            start = stop

    def load(self, place: Place) -> Payload:
        """One image on its own: cheap where a file is one image, a search where it is a table.

        Raises:
            DataError: its file is missing.
        """
        try:
            return next(self._format(place.file).read(self.root / place.file, [place.row]))
        except FileNotFoundError as error:
            msg = f"{place.file} is missing from {self.root}: run the fetch stage again"
            raise DataError(msg) from error

    def _format(self, file: str) -> Format:
        return self.formats[file.split("/", 1)[0]]


def content_hash(payload: Payload) -> str:
    """The sha256 of an image as stored: of its encoded bytes, or of its pixels."""
    data = payload if isinstance(payload, bytes) else np.ascontiguousarray(payload).data
    return hashlib.sha256(data).hexdigest()


def check_content(payload: Payload, place: Place, expected: str) -> None:
    """Compare an image with its digest in the index.

    Raises:
        ChecksumError: they differ.
    """
    found = content_hash(payload)
    if found != expected:
        msg = f"{place} changed since it was fetched: sha256 {found[:12]}..., expected {expected[:12]}...; fetch again"
        raise ChecksumError(msg)


Pixels = NDArray[np.uint8]
