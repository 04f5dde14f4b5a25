"""How files hold images and labels: one format per file."""

from collections.abc import Sequence
from pathlib import Path

from eyas.component import import_members
from eyas.data.formats.base import Format, Listing, Payload
from eyas.errors import DataError

import_members(__name__, __path__)

ORDER = ("parquet", "idx", "cifar", "folder")  # the most telling first


def detect(root: Path, files: Sequence[str]) -> str:
    """The kind of the format that knows the files.

    Raises:
        DataError: none does; the message says what would be known.
    """
    for kind in (*ORDER, *sorted(set(Format.registry) - set(ORDER))):
        member = Format.registry[kind]
        assert issubclass(member, Format)
        if member.recognises(files, root):
            return kind
    shown = ", ".join(files[:5]) or "no file at all"
    msg = (
        f"no known format in {root.name} ({shown}): expected Parquet (*.parquet), IDX (*-ubyte), CIFAR's batches "
        "(data_batch_1 ...), or a folder per class; name one with fetch.format"
    )
    raise DataError(msg)


__all__ = ["Format", "Listing", "Payload", "detect"]
