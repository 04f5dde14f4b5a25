"""What a fetched data set holds: ``manifest.json`` and ``index.parquet``, and how they are checked.

Both are functions of the data and the parameters alone: no time, host or path enters them, so equal input gives
equal bytes.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from eyas.data.split_assignment import SplitName
from eyas.errors import ChecksumError, DataError

MANIFEST, INDEX, FILES = "manifest.json", "index.parquet", "files"
_INDEX_SCHEMA = pa.schema(
    [
        ("file", pa.dictionary(pa.int32(), pa.string())),
        ("row", pa.int64()),
        ("label", pa.int32()),
        ("split", pa.dictionary(pa.int32(), pa.string())),
        ("sha256", pa.string()),
    ]
)


class Row(NamedTuple):
    """One image in the index; rows sort by split, then by digest."""

    split: SplitName
    sha256: str
    file: str
    row: int
    label: int


class FileRecord(BaseModel):
    """Size and digest of one file."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    sha256: str
    size: int


class ImageRecord(BaseModel):
    """How images are decoded."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    channels: int
    size: int
    resize: int | None


class Manifest(BaseModel):
    """The content of ``manifest.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    version: int = 1
    source: dict[str, str]
    """Address by part (``train``, ``test``), without credentials."""
    formats: dict[str, dict[str, Any]]
    """The format by part, as its component reads it."""
    classes: tuple[str, ...]
    image: ImageRecord
    mean: tuple[float, ...]
    std: tuple[float, ...]
    splits: dict[str, dict[str, int]]
    """Images per split and class."""
    files: dict[str, FileRecord]
    """By name below ``files/``."""
    index: FileRecord
    digest: str
    """The data set's own hash: images, labels, splits, classes, decoding and normalisation."""


def file_record(path: Path) -> FileRecord:
    """Measure a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileRecord(sha256=digest, size=path.stat().st_size)


def list_files(folder: Path) -> Iterator[str]:
    """Names of all files below a folder, sorted, ``/`` between parts."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix()


def write_index(path: Path, rows: Sequence[Row]) -> None:
    """Write the index with fixed settings, so that equal rows are equal bytes."""
    columns = {name: [getattr(row, name) for row in rows] for name in _INDEX_SCHEMA.names}
    table = pa.table(columns, schema=_INDEX_SCHEMA)
    pq.write_table(table, path, compression="zstd", version="2.6", store_schema=False)


def read_index(path: Path) -> list[Row]:
    """The rows of an index, sorted by split and digest."""
    columns = pq.read_table(path).to_pydict()
    return [Row(*values) for values in zip(*(columns[name] for name in Row._fields), strict=True)]


def dataset_digest(rows: Sequence[Row], settings: Mapping[str, Any]) -> str:
    """The hash of a data set: of every image's digest, label and split, and of ``settings``.

    Where an image is stored does not count, and neither does the order of the files.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for line in sorted(f"{row.sha256} {row.label} {row.split}\n" for row in rows):
        digest.update(line.encode())
    return digest.hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Read ``manifest.json`` of a fetched data set.

    Raises:
        DataError: it is missing or damaged.
    """
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        msg = f"{folder} holds no {MANIFEST}: run the fetch stage first"
        raise DataError(msg) from error
    except ValidationError as error:
        msg = f"{path} is damaged ({error.error_count()} errors, first: {error.errors()[0]['msg']}): fetch again"
        raise DataError(msg) from error


def check_files(folder: Path, manifest: Manifest, *, hash_limit: int) -> bool:
    """Compare every file with the manifest: sizes always, digests when all files have at most ``hash_limit`` bytes.

    Returns whether digests were compared.

    Raises:
        ChecksumError: a file is missing or differs; names it.
    """
    whole = sum(record.size for record in manifest.files.values()) <= hash_limit
    _check_file(folder / INDEX, INDEX, manifest.index, digest=True)
    for name, record in manifest.files.items():
        _check_file(folder / FILES / name, f"{FILES}/{name}", record, digest=whole)
    return whole


def _check_file(path: Path, name: str, record: FileRecord, *, digest: bool) -> None:
    if not path.is_file():
        msg = f"{name} is missing from {path.parent}: fetch again"
        raise ChecksumError(msg)
    size = path.stat().st_size
    if size != record.size:
        msg = f"{name} has {size} bytes, the manifest says {record.size}: truncated or changed; fetch again"
        raise ChecksumError(msg)
    if digest and (found := file_record(path).sha256) != record.sha256:
        msg = f"{name} has sha256 {found}, the manifest says {record.sha256}: it was changed; fetch again"
        raise ChecksumError(msg)
