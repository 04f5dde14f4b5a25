"""``index.parquet``: every image of a data set with its file, row, label, split and digest.

Equal rows are equal bytes: no time, host or path enters it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from eyas.data.split_assignment import SplitName

_INDEX_SCHEMA = pa.schema(
    [
        ("file", pa.dictionary(pa.int32(), pa.string())),
        ("row", pa.int64()),
        ("label", pa.int32()),
        ("split", pa.dictionary(pa.int32(), pa.string())),
        ("sha256", pa.string()),
        ("pixels", pa.string()),
        ("mask", pa.string()),
        ("mask_sha256", pa.string()),
    ]
)
_MAY_BE_LEFT_OUT = ("pixels", "mask", "mask_sha256")


class IndexRow(NamedTuple):
    """One image in the index; rows sort by split, then by digest."""

    split: SplitName
    sha256: str
    file: str
    row: int
    label: int
    pixels: str = ""
    """sha256 of the decoded pixels; "" where it is that of the stored image, or is not known."""

    mask: str = ""
    """File that holds a class per pixel; "" where the label is that of the image."""
    mask_sha256: str = ""

    @property
    def pixel_hash(self) -> str:
        """sha256 of the decoded pixels, as far as it is known."""
        return self.pixels or self.sha256


def write_index(path: Path, rows: Sequence[IndexRow]) -> None:
    """Write the index with fixed settings, so that equal rows are equal bytes; without columns where all are ""."""
    columns = {name: [getattr(row, name) for row in rows] for name in _INDEX_SCHEMA.names}
    table = pa.table(columns, schema=_INDEX_SCHEMA)
    table = table.drop_columns([name for name in _MAY_BE_LEFT_OUT if not any(columns[name])])
    pq.write_table(table, path, compression="zstd", version="2.6", store_schema=False)


def read_index(path: Path) -> list[IndexRow]:
    """The rows of an index, sorted by split and digest."""
    table = pq.read_table(path)
    columns = {**dict.fromkeys(_MAY_BE_LEFT_OUT, [""] * len(table)), **table.to_pydict()}
    return [IndexRow(*values) for values in zip(*(columns[name] for name in IndexRow._fields), strict=True)]


def dataset_digest(rows: Sequence[IndexRow], settings: Mapping[str, Any]) -> str:
    """The hash of a data set: of every image's digest, label or mask, and split, and of ``settings``.

    Where an image is stored does not count, and neither does the order of the files.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for line in sorted(f"{row.sha256} {row.mask_sha256 or row.label} {row.split}\n" for row in rows):
        digest.update(line.encode())
    return digest.hexdigest()
