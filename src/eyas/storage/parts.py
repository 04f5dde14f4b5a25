"""A file cut into parts for an upload, as it was at one moment."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from eyas.errors import StorageError

_MAX_PARTS = 10_000


class ChangedError(StorageError):
    """A file is not what it was when its upload began."""


@dataclass(frozen=True)
class Parts:
    """Where the parts of a file begin and end, and what was in them."""

    path: Path
    part_size: int
    size: int
    sha256: str
    digests: tuple[bytes, ...]
    """SHA-256 per part; an empty file is one empty part."""

    @classmethod
    def of(cls, path: Path, part_size: int) -> Self:
        """Cut and hash a file, in one reading; parts are larger where S3 would not take so many."""
        part_size = max(part_size, -(-path.stat().st_size // _MAX_PARTS))
        whole, size, digests = hashlib.sha256(), 0, []
        with path.open("rb") as file:
            while part := file.read(part_size):
                whole.update(part)
                digests.append(hashlib.sha256(part).digest())
                size += len(part)
        return cls(path, part_size, size, whole.hexdigest(), tuple(digests) or (whole.digest(),))

    @property
    def numbers(self) -> range:
        """1 to the number of parts, as S3 counts."""
        return range(1, len(self.digests) + 1)

    def read(self, number: int) -> bytes:
        """The bytes of one part.

        Raises:
            ChangedError: they are not what they were.
        """
        with self.path.open("rb") as file:
            file.seek((number - 1) * self.part_size)
            data = file.read(self.part_size)
        if hashlib.sha256(data).digest() != self.digests[number - 1]:
            msg = f"{self.path} changed while it was sent: nothing was written; send it again when it is complete"
            raise ChangedError(msg)
        return data
