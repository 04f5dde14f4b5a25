"""The parts of a data set (``train`` and perhaps ``test``): their formats, images and common classes."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from eyas.data.formats import Format, Listing, detect
from eyas.data.formats.folder import is_image
from eyas.data.image_reader import Place
from eyas.data.manifest import list_files
from eyas.errors import DataError

_TEST_NAME = re.compile(r"^(test|t10k)([-_.].*)?$")
_VALIDATION_NAME = re.compile(r"^(val|validation)([-_.].*)?$")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """The images of one source (``train`` or ``test``), labels by the data set's classes."""

    format: Format
    places: list[Place]
    labels: list[int]
    given: list[bool]
    """Whether the image belongs to a test set that was given."""


def list_part(root: Path, kind: str, image_column: str | None, label_column: str | None) -> tuple[Format, Listing]:
    """Find the images of one source; ``kind`` names a format, or is ``auto``.

    Raises:
        DataError: the files are of no known format, hold no image, or a label is out of range.
    """
    files = list(list_files(root))
    if kind == "auto":
        kind = detect(root, files)
    columns = {"image_column": image_column, "label_column": label_column} if kind == "parquet" else {}
    member = Format.parse({"kind": kind} | columns).resolved(root, files)
    listing = member.list_images(root, files)
    if not len(listing.labels):
        msg = f"{root.name}: {kind} files without a single image"
        raise DataError(msg)
    _check_labels(listing)
    return member, listing


def _check_labels(listing: Listing) -> None:
    """Every label is a position in the class names."""
    wrong = np.flatnonzero((listing.labels < 0) | (listing.labels >= len(listing.classes)))
    if len(wrong):
        place = Place(listing.files[listing.file_indices[wrong[0]]], int(listing.rows[wrong[0]]))
        msg = f"{place} has label {listing.labels[wrong[0]]}; allowed are 0 to {len(listing.classes) - 1}"
        raise DataError(msg)


def join_classes(listings: Mapping[str, Listing]) -> tuple[str, ...]:
    """The classes of all parts: those of a part that names them, ``train`` first.

    Raises:
        DataError: a part has a class that the others lack.
    """
    named = {part: listing.classes for part, listing in listings.items() if listing.named}
    if not named:
        return max((listing.classes for listing in listings.values()), key=len)
    classes = named.get("train") or next(iter(named.values()))
    for part, listing in listings.items():
        unknown = set(listing.classes) - set(classes) if listing.named else listing.classes[len(classes) :]
        if unknown:
            msg = f"{part} has a class {min(unknown)!r} that the other part lacks; known: {', '.join(classes)}"
            raise DataError(msg)
    return classes


def make_part(name: str, member: Format, listing: Listing, classes: Sequence[str], *, has_test: bool) -> Part:
    """One part's images with labels by the common classes; a source that brings its own test set keeps it."""
    flags = [False] * len(listing.files) if has_test else own_test(name, listing.files)
    position = {text: index for index, text in enumerate(classes)}
    label = [position[text] for text in listing.classes] if listing.named else list(range(len(classes)))
    files = listing.file_indices.tolist()
    return Part(
        format=member,
        places=[
            Place(f"{name}/{listing.files[at]}", row) for at, row in zip(files, listing.rows.tolist(), strict=True)
        ],
        labels=[label[value] for value in listing.labels.tolist()],
        given=[name == "test" or flags[at] for at in files],
    )


def own_test(name: str, files: Sequence[str]) -> list[bool]:
    """Which files of a source are its own test set, by their usual names (``test_batch``, ``t10k-...``, ``val/``).

    Raises:
        DataError: it holds both a test and a validation set.
    """
    tags = [_tag(file) for file in files]
    if set(tags) >= {"test", "validation"}:
        msg = f"{name} holds both a test and a validation set: give the two to use as fetch.train and fetch.test"
        raise DataError(msg)
    flags = [tag != "train" for tag in tags]
    if all(flags) or not any(flags):
        return [False] * len(files)
    _LOG.info("%s holds a test set of its own (%s ...): used as given", name, files[flags.index(True)])
    return flags


def _tag(file: str) -> str:
    """``train``, ``test`` or ``validation``: by a folder above the class for images, else by the file's own name."""
    path = PurePosixPath(file)
    names = path.parts[:-2] if is_image(path.name) else (path.name,)
    if any(_TEST_NAME.match(part) for part in names):
        return "test"
    return "validation" if any(_VALIDATION_NAME.match(part) for part in names) else "train"
