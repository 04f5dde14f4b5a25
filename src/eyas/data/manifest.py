"""``manifest.json``: the files of a fetched data set and how they are read, and how they are checked.

It is a function of the data and the parameters alone: no time, host or path enters it, so equal input gives equal
bytes.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from eyas.data.tasks import Task
from eyas.errors import ChecksumError, DataError

MANIFEST, INDEX, FILES = "manifest.json", "index.parquet", "files"


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

    def pixel_key(self, sha256: str) -> str:
        """The hash of an image's decoded pixels, told apart from those of images that were decoded otherwise."""
        return f"{self.channels} {self.size} {self.resize} {sha256}"


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
    """Images per split and class; where each pixel has a class, images in which it occurs; no class without labels."""
    files: dict[str, FileRecord]
    """By name below ``files/``."""
    index: FileRecord
    digest: str
    """The data set's own hash: images, labels, splits, classes, decoding and normalisation."""
    left_out: dict[str, int] = {}
    """Files and images that are not used, by kind."""
    test_from_train: bool = False
    """The test images were cut from ``train``, whoever had seen them before (``fetch.test: from_train``)."""
    test_included: bool = False
    """The test images are a test set that the source of ``train`` brought."""
    repeated: dict[str, int] | None = None
    """Images of each split whose pixels are those of one before them; None in data sets from before this was counted,
    whose index says nothing of pixels."""

    task: str = "classification"
    """The kind of task that the labels are for."""
    images: dict[str, int] = {}
    """Images per split, where one shows several classes or none is known; else ``splits`` count them."""

    def task_of(self, split: str) -> Task:
        """What the labels of one split are for: those of a test set may be the only ones."""
        return task_of(self.task, self.splits[split])

    @property
    def knows_pixels(self) -> bool:
        """Whether the index says which images have the same pixels."""
        return self.repeated is not None

    @property
    def settings(self) -> dict[str, Any]:
        """What the digest counts beside the images: classes, decoding and normalisation."""
        return self.model_dump(include={"classes", "image", "mean", "std"})

    def to_json(self) -> str:
        """The content of the file; what is empty is not written."""
        empty = {name for name in ("left_out", "test_from_train", "test_included", "images") if not getattr(self, name)}
        empty |= {"task"} if self.task == "classification" else set()
        empty |= {"repeated"} if self.repeated is None else set()
        return self.model_dump_json(indent=2, exclude=empty) + "\n"


def task_of(task: str, classes: Mapping[str, int]) -> Task:
    """The task of a split: the data set's, and that of labels where an unlabelled data set's split has ``classes``."""
    parsed = Task.parse(task)
    return parsed if parsed.labelled or not classes else Task.parse("classification")


def images_per_split(manifest: Mapping[str, Any]) -> dict[str, int]:
    """How many images each split has, by a manifest's content."""
    counted = {split: sum(counts.values()) for split, counts in manifest["splits"].items()}
    return dict(manifest.get("images") or counted)


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
    if digest and (sha256 := file_record(path).sha256) != record.sha256:
        msg = f"{name} has sha256 {sha256}, the manifest says {record.sha256}: it was changed; fetch again"
        raise ChecksumError(msg)
