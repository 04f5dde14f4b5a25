"""Any image at once, from files that are read row by row.

A training epoch wants images in random order. A file that is one image gives that; a table does not. Its images
are written, still encoded, one behind the other into an unnamed temporary file, once per process.
"""

import os
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, TypeVar

import numpy as np
import torch
from torch import Tensor

from eyas.data.image_reader import ImageLocation, ImageReader
from eyas.data.payload import Payload
from eyas.parallel import ordered_map

Result = TypeVar("Result")


class RandomAccessImages:
    """The images at ``locations``, each at once."""

    def __init__(self, reader: ImageReader, locations: Sequence[ImageLocation]) -> None:
        self._reader = reader
        self._locations = locations
        self._rows = [position for position, location in enumerate(locations) if location.row >= 0]
        self._extents: dict[int, tuple[int, int, tuple[int, ...]]] = {}  # start, bytes and shape by position
        self._file = self._write() if self._rows else None

    def _write(self) -> BinaryIO:
        """Copy the images of tables; a temporary file without a name disappears with the process."""
        file = tempfile.TemporaryFile(prefix="eyas-images-")  # noqa: SIM115 -- lives as long as this object
        start = 0
        locations = [self._locations[position] for position in self._rows]
        for index, payload in self._reader.each(locations, lambda _, data: data):
            data, shape = (payload, ()) if isinstance(payload, bytes) else (payload.tobytes(), payload.shape)
            file.write(data)
            self._extents[self._rows[index]] = (start, len(data), shape)
            start += len(data)
        file.flush()
        weakref.finalize(self, file.close)
        return file

    def load(self, position: int) -> Payload:
        """The image at ``position`` as it was stored; safe to call from several threads."""
        if position not in self._extents:
            return self._reader.load(self._locations[position])
        assert self._file is not None
        start, size, shape = self._extents[position]
        data = os.pread(self._file.fileno(), size, start)
        return np.frombuffer(data, dtype=np.uint8).reshape(shape) if shape else data

    def batches(
        self, batches: Sequence[Tensor], decode: Callable[[int, Payload], Result]
    ) -> Iterator[tuple[Tensor, list[Result]]]:
        """Each batch of positions with its decoded images; the threads stay about two batches ahead."""
        positions = torch.cat(list(batches)).tolist() if batches else []
        largest = max((len(batch) for batch in batches), default=0)
        decoded = ordered_map(
            lambda position: decode(position, self.load(position)),
            positions,
            threads=self._reader.threads,
            ahead=2 * largest,
        )
        for batch in batches:
            yield batch, [next(decoded) for _ in range(len(batch))]
