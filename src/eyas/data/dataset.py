"""A fetched data set, opened and verified.

N images, C channels, H height, W width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from eyas.data.decoding import Preprocessing
from eyas.data.formats import Format
from eyas.data.image_reader import ImageLocation, ImageReader
from eyas.data.index import IndexRow, dataset_digest, read_index
from eyas.data.limits import UNLIMITED
from eyas.data.manifest import FILES, INDEX, Manifest, check_files, read_manifest
from eyas.data.split import ImageStore, MaskFile, Split
from eyas.data.split_assignment import SPLITS
from eyas.data.tasks import Task
from eyas.errors import ChecksumError, DataError

MEMORY_LIMIT = 4 * 2**30
HASH_LIMIT = 4 * 2**30


@dataclass(frozen=True)
class Dataset:
    """A fetched and verified data set."""

    folder: Path
    manifest: Manifest
    splits: dict[str, Split]
    _moments: dict[torch.device, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names by label."""
        return self.manifest.classes

    @property
    def num_classes(self) -> int:
        """How many classes there are; 0 where nothing says so, as without labels."""
        return len(self.manifest.classes)

    @property
    def task(self) -> Task:
        """What its labels are for."""
        return Task.parse(self.manifest.task)

    def task_of(self, name: str) -> Task:
        """What the labels of one split are for."""
        return self.manifest.task_of(name)

    def answered_by(self, answers: Mapping[str, Tensor], num_classes: int) -> "Dataset":
        """The data set with a network's answers, by split, in place of labels that it lacks.

        Classes without names are called by their numbers.
        """
        splits = {name: split.labelled(answers[name]) for name, split in self.splits.items() if name in answers}
        classes = self.class_names or tuple(map(str, range(num_classes)))
        manifest = self.manifest.model_copy(update={"classes": classes})
        return replace(self, manifest=manifest, splits=self.splits | splits)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        image = self.manifest.image
        return image.channels, image.size, image.size

    @property
    def mean(self) -> tuple[float, ...]:
        """Per channel, of pixel values in [0, 1]."""
        return self.manifest.mean

    @property
    def std(self) -> tuple[float, ...]:
        """Per channel, of pixel values in [0, 1]."""
        return self.manifest.std

    @property
    def digest(self) -> str:
        """The data set's hash: images, labels, splits, classes, decoding and normalisation."""
        return self.manifest.digest

    def split(self, name: str) -> Split:
        """One of ``train``, ``calibration``, ``score``, ``test``.

        Raises:
            DataError: there is no such split.
        """
        if name not in self.splits:
            msg = f"no split {name!r}: there are {', '.join(self.splits)}"
            raise DataError(msg)
        return self.splits[name]

    def normalise(self, images: Tensor) -> Tensor:
        """(pixels / 255 - mean) / std as float32, same shape (N, C, H, W), on the device of ``images``."""
        if images.device not in self._moments:
            shape = (len(self.mean), 1, 1)
            mean = torch.tensor(self.mean, device=images.device).view(shape)
            std = torch.tensor(self.std, device=images.device).view(shape)
            self._moments[images.device] = mean, std
        mean, std = self._moments[images.device]
        return images.to(torch.float32).div_(255).sub_(mean).div_(std)


def open_dataset(
    folder: Path | str, *, threads: int = 2, memory_limit: int = MEMORY_LIMIT, hash_limit: int = HASH_LIMIT
) -> Dataset:
    """Open and verify what the fetch stage left.

    Args:
        folder: ``artifacts/fetch``.
        threads: decode images.
        memory_limit: bytes of decoded images that one split may keep in memory.
        hash_limit: files of more bytes in all are not hashed here; each image is then checked when it is read.

    Raises:
        ChecksumError: a file is missing, truncated or changed, or the index is another than the data set's hash is of.
        DataError: there is no data set.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    verified = check_files(folder, manifest, hash_limit=hash_limit)
    formats = {name: Format.parse(options) for name, options in manifest.formats.items()}
    image = manifest.image
    store = ImageStore(
        ImageReader(folder / FILES, formats, threads),
        Preprocessing(
            image.channels, image.size, image.resize, UNLIMITED
        ),  # the stage that fetched them decoded them all
        memory_limit,
        verified,
    )
    index = read_index(folder / INDEX)
    _require_digest(index, manifest)
    return Dataset(folder, manifest, _splits(index, store))


def _require_digest(index: Sequence[IndexRow], manifest: Manifest) -> None:
    """Whoever changes images, labels or splits, and the index's own record with them, changes the data set's hash."""
    digest = dataset_digest(index, manifest.settings)
    if digest != manifest.digest:
        msg = f"{INDEX} is of the data set {digest}, the manifest says {manifest.digest}: it was changed; fetch again"
        raise ChecksumError(msg)


def _splits(index: Sequence[IndexRow], store: ImageStore) -> dict[str, Split]:
    """The splits of an index, each in the order of its images' digests."""
    rows: dict[str, list[IndexRow]] = {name: [] for name in SPLITS}
    for row in index:
        rows[row.split].append(row)
    return {
        name: Split(
            name,
            [ImageLocation(row.file, row.row) for row in chosen],
            [row.sha256 for row in chosen],
            torch.tensor([row.label for row in chosen], dtype=torch.int64),
            store,
            masks=[MaskFile(ImageLocation(row.mask, -1), row.mask_sha256) for row in chosen if row.mask],
        )
        for name, chosen in rows.items()
    }
