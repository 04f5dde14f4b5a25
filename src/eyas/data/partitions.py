"""The partitions a data set comes in (``train`` and perhaps ``test``): their formats, images and common classes."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from eyas.data.class_names import check_names, class_of_number, require_numbers, warn_of_lookalikes
from eyas.data.formats import Format, FormatChoice, Listing, choose_format
from eyas.data.formats.class_numbers import check_all_in_use
from eyas.data.image_reader import ImageLocation
from eyas.data.left_out import HIDDEN, in_words, left_out_in_words, visible
from eyas.data.limits import DEFAULT_LIMITS, Limits
from eyas.data.manifest import list_files
from eyas.data.part_names import Use
from eyas.data.tasks import Task
from eyas.errors import DataError

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Partition:
    """The images of one source (``train`` or ``test``), labels by the data set's classes."""

    format: Format
    locations: list[ImageLocation]
    labels: list[int]
    is_test: list[bool]
    """Whether the image belongs to a test set that came with the data."""
    masks: list[str]
    """File of the image's mask; "" where it has none."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Files that were not read, by kind."""


@dataclass(frozen=True)
class ListedSource:
    """One source as its files show it."""

    format: Format
    """With all its options known."""
    listing: Listing
    left_out: Mapping[str, int]
    """Files that are not read, by kind."""


def list_source(
    root: Path, choice: FormatChoice, limits: Limits = DEFAULT_LIMITS, task: str = "classification"
) -> ListedSource:
    """The format of one source, its images, and what of it is not read.

    Raises:
        DataError: the files are of no known format, hold no image or more than ``limits`` allow, or a label is out of
            range.
    """
    every = list(list_files(root))
    files = visible(every)
    member = choose_format(choice, files, root.name, task).resolved(root, files)
    listing = member.list_images(root, files, limits)
    if not len(listing.labels):
        msg = f"{root.name}: {member.kind} files without a single image"
        raise DataError(msg)
    if Task.members()[task].labelled:
        check_names(listing.classes, root.name)
        _check_labels(listing)
    else:
        listing = listing.without_labels()
    hidden = {HIDDEN: len(every) - len(files)} if len(every) > len(files) else {}
    left_out = {**member.left_out(files), **hidden}
    if left_out:
        _LOG.warning("%s: %s", root.name, left_out_in_words(left_out))
    return ListedSource(member, listing, left_out)


@contextmanager
def left_out_untold() -> Iterator[None]:
    """Sources are listed without a warning of the files that are left out, for whoever lists them again."""

    def drop(_: logging.LogRecord) -> bool:
        return False

    _LOG.addFilter(drop)
    try:
        yield
    finally:
        _LOG.removeFilter(drop)


def _check_labels(listing: Listing) -> None:
    """Every label is a position in the class names."""
    wrong = np.flatnonzero((listing.labels < 0) | (listing.labels >= len(listing.classes)))
    if len(wrong):
        location = ImageLocation(listing.files[listing.file_indices[wrong[0]]], int(listing.rows[wrong[0]]))
        label = int(listing.labels[wrong[0]])
        hint = ": -1 stands for a label that is kept back, so these images cannot be used" if label == -1 else ""
        msg = f"{location} has label {label}; allowed are 0 to {len(listing.classes) - 1}{hint}"
        raise DataError(msg)


def common_classes(listings: Mapping[str, Listing]) -> tuple[str, ...]:
    """The classes of all partitions that have labels: those of one that names them, ``train`` first.

    Raises:
        DataError: a partition has a class that the others lack, there is one class alone, a number is no class, or
            which class it is cannot be known.
    """
    labelled = {name: listing for name, listing in listings.items() if listing.classes}
    if not labelled:
        return ()
    classes = _join_classes(labelled)
    warn_of_lookalikes(classes)
    if len(classes) == 1:
        msg = f"all images are of one class, {classes[0]!r}: a network needs two or more to tell apart"
        raise DataError(msg)
    return classes


def _join_classes(listings: Mapping[str, Listing]) -> tuple[str, ...]:
    named = {name: listing for name, listing in listings.items() if listing.named}
    if not named:
        check_all_in_use(label for listing in listings.values() for label in np.unique(listing.labels).tolist())
        return max((listing.classes for listing in listings.values()), key=len)
    reference = named.get("train") or next(iter(named.values()))
    classes = reference.classes
    for name, listing in listings.items():
        if not listing.named:
            require_numbers(classes, name, in_own_order=reference.in_own_order)
        unknown = set(listing.classes) - set(classes) if listing.named else listing.classes[len(classes) :]
        if unknown:
            msg = f"{name} has a class {min(unknown)!r} that the other partition lacks; known: {', '.join(classes)}"
            raise DataError(msg)
    return classes


def make_partition(name: str, source: ListedSource, classes: Sequence[str], *, has_test: bool) -> Partition:
    """One source's images with labels by the common classes; a source that brings its own test set keeps it.

    Raises:
        DataError: both partitions have masks, and number their classes in different orders.
    """
    listing = source.listing
    if listing.masks and listing.classes != tuple(classes):
        msg = f"{name} numbers its classes {', '.join(listing.classes)}, the other partition {', '.join(classes)}"
        raise DataError(msg)
    files, rows = listing.file_indices.tolist(), listing.rows.tolist()
    uses = source.format.uses(listing.files)
    _tell_parts(name, [uses[at] for at in files])
    in_test = [name == "test"] * len(uses) if has_test else own_test_files(name, uses)
    position = {text: index for index, text in enumerate(classes)}
    label = [position[text] for text in listing.classes] if listing.named else class_of_number(classes)
    labels = listing.labels.tolist()
    return Partition(
        format=source.format,
        locations=[ImageLocation(f"{name}/{listing.files[at]}", row) for at, row in zip(files, rows, strict=True)],
        labels=[label[value] for value in labels] if listing.classes else labels,
        is_test=[in_test[at] for at in files],
        masks=[f"{name}/{mask}" for mask in listing.masks] or [""] * len(files),
        left_out=source.left_out,
    )


def _tell_parts(name: str, uses: Sequence[Use]) -> None:
    """Say which parts were recognised, and how large they are."""
    counts = Counter[str](uses)
    if len(counts) > 1:
        _LOG.info("%s comes in parts, by the names of its files and folders: images are %s", name, in_words(counts))


def own_test_files(name: str, uses: Sequence[Use]) -> list[bool]:
    """Which files of a source are its own test set: those for testing, else those for validation.

    Where there are all three, those for validation are training data, of which some become the score split.

    Raises:
        DataError: it holds a test and a validation set, but no training set.
    """
    there = set(uses)
    if there == {"test", "validation"}:
        msg = f"{name} holds both a test and a validation set, alone: give the two to use as `train` and `test`"
        raise DataError(msg)
    if len(there) < 2:
        return [False] * len(uses)
    own: Use = "test" if "test" in there else "validation"
    _LOG.info("%s holds a test set of its own (its %s images): used as given", name, own)
    if len(there) == 3:
        _LOG.info("the validation images of %s count as training images: the score split is drawn from both", name)
    return [use == own for use in uses]


def check_same_classes(partitions: Mapping[str, Partition], classes: Sequence[str]) -> None:
    """A test set that came with the data has images of just the classes that are trained.

    Raises:
        DataError: a class is in one of the two alone, such as one that is spelt otherwise there.
    """
    labels: dict[bool, set[int]] = {False: set(), True: set()}
    for partition in partitions.values():
        for label, flag in zip(partition.labels, partition.is_test, strict=True):
            labels[flag].add(label)
    untested, untrained = (
        ", ".join(repr(classes[label]) for label in sorted(labels[part] - labels[not part])) for part in (False, True)
    )
    if labels[True] and (untested or untrained):
        faults = [f"class {untested} has no image in the test set"] if untested else []
        faults += [f"class {untrained} has no image to train on"] if untrained else []
        msg = f"{', '.join(faults)}: give both the same classes, spelt alike"
        raise DataError(msg)
