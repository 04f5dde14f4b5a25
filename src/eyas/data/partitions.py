"""The partitions a data set comes in (``train`` and perhaps ``test``): their formats, images and common classes."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from eyas.data.formats import Format, FormatChoice, Listing, choose_format
from eyas.data.formats.folder import is_image
from eyas.data.image_reader import ImageLocation
from eyas.data.manifest import list_files
from eyas.errors import DataError

_TEST_NAME = re.compile(r"^(test|t10k)([-_.].*)?$")
_VALIDATION_NAME = re.compile(r"^(val|validation)([-_.].*)?$")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Partition:
    """The images of one source (``train`` or ``test``), labels by the data set's classes."""

    format: Format
    locations: list[ImageLocation]
    labels: list[int]
    is_test: list[bool]
    """Whether the image belongs to a test set that came with the data."""


def list_partition(root: Path, choice: FormatChoice) -> tuple[Format, Listing]:
    """The format of one source with all its options known, and its images.

    Raises:
        DataError: the files are of no known format, hold no image, or a label is out of range.
    """
    files = list(list_files(root))
    member = choose_format(choice, files, root.name).resolved(root, files)
    listing = member.list_images(root, files)
    if not len(listing.labels):
        msg = f"{root.name}: {member.kind} files without a single image"
        raise DataError(msg)
    _check_labels(listing)
    return member, listing


def _check_labels(listing: Listing) -> None:
    """Every label is a position in the class names."""
    wrong = np.flatnonzero((listing.labels < 0) | (listing.labels >= len(listing.classes)))
    if len(wrong):
        location = ImageLocation(listing.files[listing.file_indices[wrong[0]]], int(listing.rows[wrong[0]]))
        msg = f"{location} has label {listing.labels[wrong[0]]}; allowed are 0 to {len(listing.classes) - 1}"
        raise DataError(msg)


def common_classes(listings: Mapping[str, Listing]) -> tuple[str, ...]:
    """The classes of all partitions: those of one that names them, ``train`` first.

    Raises:
        DataError: a partition has a class that the others lack.
    """
    named = {name: listing.classes for name, listing in listings.items() if listing.named}
    if not named:
        return max((listing.classes for listing in listings.values()), key=len)
    classes = named.get("train") or next(iter(named.values()))
    for name, listing in listings.items():
        unknown = set(listing.classes) - set(classes) if listing.named else listing.classes[len(classes) :]
        if unknown:
            msg = f"{name} has a class {min(unknown)!r} that the other partition lacks; known: {', '.join(classes)}"
            raise DataError(msg)
    return classes


def make_partition(name: str, member: Format, listing: Listing, classes: Sequence[str], *, has_test: bool) -> Partition:
    """One source's images with labels by the common classes; a source that brings its own test set keeps it."""
    in_test = [name == "test"] * len(listing.files) if has_test else own_test_files(name, listing.files)
    position = {text: index for index, text in enumerate(classes)}
    label = [position[text] for text in listing.classes] if listing.named else list(range(len(classes)))
    files, rows = listing.file_indices.tolist(), listing.rows.tolist()
    return Partition(
        format=member,
        locations=[ImageLocation(f"{name}/{listing.files[at]}", row) for at, row in zip(files, rows, strict=True)],
        labels=[label[value] for value in listing.labels.tolist()],
        is_test=[in_test[at] for at in files],
    )


def own_test_files(name: str, files: Sequence[str]) -> list[bool]:
    """Which files of a source are its own test set, by their usual names (``test_batch``, ``t10k-...``, ``val/``).

    Raises:
        DataError: it holds both a test and a validation set.
    """
    uses = [_use_of(file) for file in files]
    if set(uses) >= {"test", "validation"}:
        msg = f"{name} holds both a test and a validation set: give the two to use as `train` and `test`"
        raise DataError(msg)
    flags = [use != "train" for use in uses]
    if all(flags) or not any(flags):
        return [False] * len(files)
    _LOG.info("%s holds a test set of its own (%s ...): used as given", name, files[flags.index(True)])
    return flags


def _use_of(file: str) -> str:
    """``train``, ``test`` or ``validation``: by a folder above the class for images, else by the file's own name."""
    path = PurePosixPath(file)
    names = path.parts[:-2] if is_image(path.name) else (path.name,)
    if any(_TEST_NAME.match(part) for part in names):
        return "test"
    return "validation" if any(_VALIDATION_NAME.match(part) for part in names) else "train"
