"""From the files of a source to a data set: list, verify, split, record."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eyas.data.decoding import Preprocessing
from eyas.data.formats import Payload
from eyas.data.image_reader import Place, Reader, content_hash
from eyas.data.manifest import (
    FILES,
    INDEX,
    MANIFEST,
    ImageRecord,
    Manifest,
    Row,
    dataset_digest,
    file_record,
    list_files,
    write_index,
)
from eyas.data.partitions import Part, join_classes, list_part, make_part
from eyas.data.split_assignment import SplitName, assign, count_classes, smallest
from eyas.progress import Progress, silent

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """How a data set is read and split; the fields are those of ``params.yaml``'s section ``fetch``."""

    preprocessing: Preprocessing
    mean: tuple[float, ...]
    std: tuple[float, ...]
    calibration_fraction: float
    score_fraction: float
    test_fraction: float
    format: str = "auto"
    image_column: str | None = None
    label_column: str | None = None
    max_images: int | None = None
    threads: int = 2


def build(folder: Path, options: Options, source: Mapping[str, str], progress: Progress = silent) -> dict[str, int]:
    """Make a data set of ``folder/files/train`` and, where it exists, ``folder/files/test``.

    Writes ``manifest.json`` and ``index.parquet``; ``source`` (addresses without secrets) goes into the manifest.
    Returns numbers about the data set.

    Raises:
        DataError: files that are not what they promise, an image that does not decode, a class absent from a split.
    """
    columns = options.image_column, options.label_column
    found = {part: list_part(folder / FILES / part, options.format, *columns) for part in source}
    classes = join_classes({part: listing for part, (_, listing) in found.items()})
    parts = {
        name: make_part(name, member, listing, classes, has_test="test" in source)
        for name, (member, listing) in found.items()
    }
    places = [place for part in parts.values() for place in part.places]
    labels = [label for part in parts.values() for label in part.labels]
    given = [flag for part in parts.values() for flag in part.given]
    reader = Reader(folder / FILES, {name: part.format for name, part in parts.items()}, options.threads)
    digests = _verify(reader, places, options.preprocessing, progress)
    splits = _split(digests, given, options)
    index = sorted(
        Row(split, digest, place.file, place.row, label)
        for split, digest, place, label in zip(splits, digests, places, labels, strict=True)
        if split is not None
    )
    counts = count_classes([row.label for row in index], [row.split for row in index], classes)
    _write(folder, options, source=source, parts=parts, classes=classes, index=index, counts=counts)
    return _numbers(index, counts)


def _verify(reader: Reader, places: Sequence[Place], decode: Preprocessing, progress: Progress) -> list[str]:
    """Decode every image once, so that a broken one is found now; returns the content hashes."""
    digests = [""] * len(places)

    def check(place: Place, payload: Payload) -> str:
        decode(payload, str(place))
        return content_hash(payload)

    step = max(len(places) // 20, 1)
    for done, (position, digest) in enumerate(reader.each(places, check), 1):
        digests[position] = digest
        if done % step == 0 or done == len(places):
            progress(done, len(places), "images verified")
    return digests


def _split(digests: Sequence[str], given: Sequence[bool], options: Options) -> list[SplitName | None]:
    """The split of every image; None for one that ``max_images`` leaves out."""
    pool = [position for position, is_test in enumerate(given) if not is_test]
    kept = {pool[at] for at in smallest([digests[position] for position in pool], options.max_images)}
    shares = {
        "test": 0.0 if any(given) else options.test_fraction,
        "score": options.score_fraction,
        "calibration": options.calibration_fraction,
    }
    return [
        "test" if is_test else assign(digest, **shares) if position in kept else None
        for position, (digest, is_test) in enumerate(zip(digests, given, strict=True))
    ]


def _write(
    folder: Path,
    options: Options,
    *,
    source: Mapping[str, str],
    parts: Mapping[str, Part],
    classes: tuple[str, ...],
    index: Sequence[Row],
    counts: dict[str, dict[str, int]],
) -> None:
    """Write index and manifest."""
    write_index(folder / INDEX, index)
    decode = options.preprocessing
    image = ImageRecord(channels=decode.channels, size=decode.size, resize=decode.resize)
    settings = {"classes": classes, "image": image.model_dump(), "mean": options.mean, "std": options.std}
    manifest = Manifest(
        source=dict(source),
        formats={name: part.format.model_dump() for name, part in parts.items()},
        classes=classes,
        image=image,
        mean=options.mean,
        std=options.std,
        splits=counts,
        files={name: file_record(folder / FILES / name) for name in list_files(folder / FILES)},
        index=file_record(folder / INDEX),
        digest=dataset_digest(index, settings),
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")


def _numbers(index: Sequence[Row], counts: dict[str, dict[str, int]]) -> dict[str, int]:
    """Numbers about the data set, for the metrics and the log."""
    test = {row.sha256 for row in index if row.split == "test"}
    shared = sum(row.sha256 in test for row in index if row.split != "test")
    if shared:
        _LOG.warning("%d training images are identical to one of the test set: test accuracy flatters", shared)
    repeats = Counter(row.sha256 for row in index)
    labels = Counter(digest for digest, _ in {(row.sha256, row.label) for row in index})
    torn = sum(count > 1 for count in labels.values())
    if torn:
        _LOG.warning("%d images occur more than once, under different labels", torn)
    return {
        "images": len(index),
        "classes": len(counts["train"]),
        **{split: sum(by_class.values()) for split, by_class in counts.items()},
        "duplicates": len(index) - len(repeats),
        "contradicting_labels": torn,
        "train_images_in_test": shared,
    }
