"""From the files of a source to a data set: list, verify, split, record."""

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from eyas.data.comparability import FROM_TRAIN, INCLUDED
from eyas.data.decoding import Preprocessing
from eyas.data.formats import FormatChoice
from eyas.data.image_reader import ImageLocation, ImageReader
from eyas.data.index import IndexRow, dataset_digest, write_index
from eyas.data.limits import DEFAULT_LIMITS, Limits
from eyas.data.manifest import FILES, INDEX, MANIFEST, ImageRecord, Manifest, file_record, list_files
from eyas.data.partitions import Partition, check_same_classes, common_classes, list_source, make_partition
from eyas.data.repeated_images import check_not_all_alike, count_repeated, first_copies, held_out_in_train
from eyas.data.split_assignment import SPLITS, SplitName, assign, count_classes, count_images, smallest
from eyas.data.tasks import IGNORED, Task
from eyas.data.verify_images import VerifiedImage, verify_images
from eyas.errors import DataError
from eyas.progress import Progress, silent

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class DatasetOptions:
    """How a data set is read and split; the fields are those of ``params.yaml``'s section ``fetch``."""

    preprocessing: Preprocessing
    mean: tuple[float, ...]
    std: tuple[float, ...]
    calibration_fraction: float
    score_fraction: float
    test_fraction: float
    task: Task = field(default_factory=lambda: Task.parse("classification"))
    test: str | None = None
    format: FormatChoice = "auto"
    max_images: int | None = None
    skip_broken: int = 0
    limits: Limits = DEFAULT_LIMITS
    threads: int = 2


def make_dataset(
    folder: Path, options: DatasetOptions, source: Mapping[str, str], progress: Progress = silent
) -> dict[str, int]:
    """Make a data set of ``folder/files/train`` and, where it exists, ``folder/files/test``.

    Writes ``manifest.json`` and ``index.parquet``; ``source`` (addresses without secrets) goes into the manifest.
    Returns numbers about the data set.

    Raises:
        DataError: files that are not what they promise, an image that does not decode, a class absent from a split.
    """
    partitions, classes = read_partitions(folder / FILES, options, tuple(source))
    contents = arrange(folder / FILES, options, partitions, classes, progress)
    _write(folder, options, source=source, partitions=partitions, classes=classes, contents=contents)
    return {**_metrics(contents.index, contents.counts), "train_images_in_test": contents.shared}


@dataclass(frozen=True)
class Contents:
    """The images of a data set, each verified and in its split."""

    index: list[IndexRow]
    counts: dict[str, dict[str, int]]
    """Images per split and class; where each pixel has one, images in which a class occurs; none without labels."""
    left_out: dict[str, int]
    """Files and images that are not used, by kind."""
    shared: int
    """Images of a test set that came with the data which are in the training data as well."""
    repeated: dict[str, int]
    """Images per split that repeat the pixels of another."""

    @property
    def counted_by_class(self) -> bool:
        """Whether ``counts`` tell how many images there are: each has one class."""
        return not any(row.mask or row.label == IGNORED for row in self.index)


def arrange(
    files: Path,
    options: DatasetOptions,
    partitions: Mapping[str, Partition],
    classes: Sequence[str],
    progress: Progress = silent,
) -> Contents:
    """Verify every image below ``files`` and find its split; nothing is written.

    Raises:
        DataError: an image does not decode, the test set was seen as a whole, or a class is absent from a split.
    """
    locations = [location for partition in partitions.values() for location in partition.locations]
    labels = [label for partition in partitions.values() for label in partition.labels]
    masks = [mask for partition in partitions.values() for mask in partition.masks]
    is_test = [flag for partition in partitions.values() for flag in partition.is_test]
    formats = {name: partition.format for name, partition in partitions.items()}
    reader, skipped = ImageReader(files, formats, options.threads), options.skip_broken
    verified = verify_images(reader, locations, masks, options.preprocessing, skip_broken=skipped, progress=progress)
    digests, pixels = [image.digest for image in verified], [image.pixels for image in verified]
    check_not_all_alike(pixels, is_test)
    repeated = held_out_in_train(pixels, is_test)
    splits = _split(digests, pixels, is_test, repeated, options)
    index = sorted(
        _row(split, image, location, label, mask)
        for split, image, location, label, mask in zip(splits, verified, locations, labels, masks, strict=True)
        if split is not None
    )
    left_out = sum((Counter(partition.left_out) for partition in partitions.values()), Counter[str]())
    left_out.update({"broken": digests.count("")} if "" in digests else {})
    shared = len(repeated)
    left_out.update({"in test and in train": shared} if shared else {})
    shown = {(image.digest, image.mask): image.classes for image in verified if image.mask}
    held = [(label, row.split) for row in index for label in shown.get((row.sha256, row.mask_sha256), (row.label,))]
    named = [label for label, _ in held], [split for _, split in held], classes
    by_class = partial(count_classes, test_came_with_data=any(is_test), limited=options.max_images is not None)
    count = by_class if options.task.labelled else count_images
    counts = count(*named)
    return Contents(index, counts, left_out, shared, count_repeated(index))


def _row(split: SplitName, image: VerifiedImage, location: ImageLocation, label: int, mask: str) -> IndexRow:
    pixels = "" if image.pixels == image.digest else image.pixels
    return IndexRow(split, image.digest, location.file, location.row, label, pixels, mask, image.mask)


def read_partitions(
    files: Path, options: DatasetOptions, names: Sequence[str]
) -> tuple[dict[str, Partition], tuple[str, ...]]:
    """The partitions of these names below ``files`` with their images, which are not read, and the classes they share.

    Raises:
        DataError: files of no known format, a test set that is not what ``options.test`` says, or a class that is
            in the test set alone or is missing there.
    """
    sources = {
        name: list_source(files / name, options.format, options.limits, options.task.of_part(name).kind)
        for name in names
    }
    classes = options.task.order(common_classes({name: source.listing for name, source in sources.items()}))
    partitions = {
        name: make_partition(name, source, classes, has_test="test" in names) for name, source in sources.items()
    }
    _check_test_set(options.test, comes_with_data=any(any(partition.is_test) for partition in partitions.values()))
    if options.task.labelled:
        check_same_classes(partitions, classes)
    return partitions, classes


def _check_test_set(test: str | None, *, comes_with_data: bool) -> None:
    """``test`` speaks of a test set that ``train`` brings, or says that there is none.

    Raises:
        DataError: it is wrong.
    """
    if test == INCLUDED and not comes_with_data:
        msg = "`test` is included, but `train` brings no test set of its own: give its address, or from_train"
        raise DataError(msg)
    if test == FROM_TRAIN and comes_with_data:
        msg = "`test` is from_train, but `train` brings a test set of its own: `test`: included takes that"
        raise DataError(msg)


def _split(
    digests: Sequence[str],
    pixels: Sequence[str],
    is_test: Sequence[bool],
    repeated: Collection[int],
    options: DatasetOptions,
) -> list[SplitName | None]:
    """The split of every image; None for one that is broken, repeated, or that ``max_images`` leaves out.

    Images of the same pixels go where the first of them goes, so that none is held out of what is trained on.
    """
    pool = [position for position, flag in enumerate(is_test) if not flag and digests[position]]
    first = dict(zip(pool, first_copies([digests[at] for at in pool], [pixels[at] for at in pool]), strict=True))
    kept = {pool[at] for at in smallest([digests[position] for position in pool], options.max_images)}
    shares = {
        "test": 0.0 if any(is_test) else options.test_fraction,
        "score": options.score_fraction,
        "calibration": options.calibration_fraction,
    }

    def split_of(position: int, digest: str) -> SplitName | None:
        if is_test[position]:
            return "test" if digest and position not in repeated else None
        return assign(first[position], **shares) if position in kept else None

    return [split_of(position, digest) for position, digest in enumerate(digests)]


def _write(
    folder: Path,
    options: DatasetOptions,
    *,
    source: Mapping[str, str],
    partitions: Mapping[str, Partition],
    classes: tuple[str, ...],
    contents: Contents,
) -> None:
    """Write index and manifest."""
    write_index(folder / INDEX, contents.index)
    decode = options.preprocessing
    image = ImageRecord(channels=decode.channels, size=decode.size, resize=decode.resize)
    manifest = Manifest(
        source=dict(source),
        formats={name: partition.format.model_dump() for name, partition in partitions.items()},
        classes=classes,
        image=image,
        mean=options.mean,
        std=options.std,
        splits=contents.counts,
        files={name: file_record(folder / FILES / name) for name in list_files(folder / FILES)},
        index=file_record(folder / INDEX),
        left_out=dict(sorted(contents.left_out.items())),
        test_from_train=options.test == FROM_TRAIN,
        test_included="test" not in partitions and any(any(partition.is_test) for partition in partitions.values()),
        repeated=contents.repeated,
        task=options.task.kind,
        images={} if contents.counted_by_class else _images(contents.index),
        digest="",
    )
    digest = dataset_digest(contents.index, manifest.settings)
    (folder / MANIFEST).write_text(manifest.model_copy(update={"digest": digest}).to_json())


def _images(index: Sequence[IndexRow]) -> dict[str, int]:
    return {name: sum(row.split == name for row in index) for name in SPLITS}


def _metrics(index: Sequence[IndexRow], counts: dict[str, dict[str, int]]) -> dict[str, int]:
    """Counts of images, splits and repetitions."""
    repeats = Counter(row.pixel_hash for row in index)
    labels = Counter(digest for digest, _ in {(row.pixel_hash, row.mask_sha256 or row.label) for row in index})
    contradicting = sum(count > 1 for count in labels.values())
    if contradicting:
        _LOG.warning("%d images occur more than once, under different labels", contradicting)
    return {
        "images": len(index),
        "classes": len(counts["train"] or counts["test"]),
        **_images(index),
        "duplicates": len(index) - len(repeats),
        "contradicting_labels": contradicting,
    }
