"""A look at images before there are parameters for them: format, classes, sizes, colours, a few to try a network on."""

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from eyas.config import FetchParams, expand
from eyas.data.decoding import DAMAGE, open_image
from eyas.data.image_reader import ImageReader
from eyas.data.left_out import left_out_in_words
from eyas.data.make_dataset import DatasetOptions, read_partitions
from eyas.data.manifest import FILES
from eyas.data.partitions import Partition, left_out_untold
from eyas.data.payload import Payload
from eyas.data.sources import BUILTIN, fetch_files
from eyas.errors import DataError
from eyas.storage import Store, redact
from eyas.storage.addresses import parse
from tasks.fetch import dataset_options

LOOKED_AT = 64
"""Images whose headers are read."""
TRIED = 128
"""Images that a network is tried on."""
GREY = ("1", "L", "I", "F")
LARGEST = 224


@dataclass(frozen=True)
class ImagesLook:
    """What there is to say of a source of images."""

    address: str
    format: str = ""
    classes: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    """Images per class."""
    sizes: tuple[tuple[int, int], ...] = ()
    """(width, height), of a few."""
    grey: bool = False
    brings_test: bool = False
    """A test set of its own."""
    left_out: str = ""
    """How many files are not read, in words."""

    @property
    def is_here(self) -> bool:
        """Whether it lies on this machine, and was looked at."""
        return bool(self.classes)

    @property
    def image_size(self) -> int:
        """A side to start from: that of all images, or the median of the shorter sides, 224 at most."""
        shorter = sorted(min(size) for size in self.sizes) or [LARGEST]
        side = shorter[len(shorter) // 2]
        alike = len(set(self.sizes)) == 1 and side <= LARGEST
        return side if alike else min(LARGEST, max(32, side // 32 * 32))

    @property
    def one_size(self) -> bool:
        """Whether all images are squares of one size that a network may see as it is."""
        return len(set(self.sizes)) == 1 and self.sizes[0] == (self.image_size, self.image_size)

    def line(self) -> str:
        """In words."""
        if not self.is_here:
            return "not on this machine: looked at when a run brings it"
        few, many = min(self.counts), max(self.counts)
        each = f"{few} each" if few == many else f"{few} to {many} each"
        low, high = min(self.sizes), max(self.sizes)
        sizes = f"{low[0]} x {low[1]}" + (f" to {high[0]} x {high[1]}" if low != high else "")
        colours = "grey" if self.grey else "colour"
        test = ", with a test set of its own" if self.brings_test else ""
        images = f"{sum(self.counts):,} images ({self.format}) of {len(self.classes)} classes ({each})"
        return f"{images}, {sizes}, {colours}{test}"


@dataclass(frozen=True)
class TriedImages:
    """A few images, decoded, with their labels."""

    images: Tensor
    """(N, C, H, W), in [0, 1]."""
    labels: Tensor
    """(N,)"""


def look_at_images(address: str, root: Path) -> ImagesLook:
    """What the images at an address are; of what is not on this machine only the address.

    Raises:
        DataError: there is nothing, or nothing that a run could read.
    """
    with _listed(address, root) as listed:
        if listed is None:
            return ImagesLook(address)
        reader, partition, classes, _ = listed
        spread = partition.locations[:: max(1, len(partition.locations) // LOOKED_AT)][:LOOKED_AT]
        shapes = [shape for location in spread if (shape := _shape(reader.load(location)))]
        counts = Counter(partition.labels)
    return ImagesLook(
        address=address,
        format=partition.format.kind,
        classes=classes,
        counts=tuple(counts[label] for label in range(len(classes))),
        sizes=tuple(size for size, _ in shapes),
        grey=all(is_grey for _, is_grey in shapes),
        brings_test=any(partition.is_test),
        left_out=left_out_in_words(partition.left_out) if partition.left_out else "",
    )


def read_images(address: str, root: Path, size: int, channels: int) -> TriedImages:
    """A few images spread over a source on this machine, as a run would read them."""
    with _listed(address, root, size, channels) as listed:
        assert listed is not None
        reader, partition, _, options = listed
        spread = range(0, len(partition.locations), max(1, len(partition.locations) // TRIED))[:TRIED]
        images, labels = [], []
        for location, label in ((partition.locations[at], partition.labels[at]) for at in spread):
            with suppress(DataError):  # damaged ones are told by ``--check``
                images.append(options.preprocessing(reader.load(location), str(location)))
                labels.append(label)
    return TriedImages(torch.from_numpy(np.stack(images)).float() / 255, torch.tensor(labels))


@contextmanager
def _listed(
    address: str, root: Path, size: int = 32, channels: int = 3
) -> Iterator[tuple[ImageReader, Partition, tuple[str, ...], DatasetOptions] | None]:
    """A reader of the source, its images and their classes; None where it is not on this machine."""
    with tempfile.TemporaryDirectory() as scratch:
        files = Path(scratch) / FILES
        if not _bring(address, root, files):
            yield None
            return
        settings = FetchParams(image_size=size, mean=(0.5,) * channels, std=(0.5,) * channels)
        options = dataset_options(settings, threads=1)
        with left_out_untold():  # ``left_out`` tells it
            partitions, classes = read_partitions(files, options, ("train",))
        (partition,) = partitions.values()
        yield ImageReader(files, {"train": partition.format}, 1), partition, classes, options


def _bring(address: str, root: Path, files: Path) -> bool:
    """Put a source below ``files/train``, a folder without copying it; False where it is elsewhere."""
    place = expand(address)
    target = files / "train"
    if place.startswith(BUILTIN):
        files.mkdir()
        fetch_files(place, target, _no_download, {})
        return True
    if parse(place).scheme != "file":
        return False
    source = (root / parse(place).key).resolve()
    if not source.exists():
        msg = f"{redact(address)}: there is no such file or folder"
        raise DataError(msg)
    files.mkdir()
    if source.is_dir():
        target.symlink_to(source, target_is_directory=True)
    else:
        fetch_files(str(source), target, Store().bring, {})
    return True


def _no_download(address: str, folder: Path) -> None:
    raise AssertionError(address)


def _shape(payload: Payload) -> tuple[tuple[int, int], bool] | None:
    """(width, height) and whether it is grey; None of what is damaged, which ``--check`` tells by name."""
    if isinstance(payload, np.ndarray):
        return (payload.shape[1], payload.shape[0]), payload.ndim == 2 or payload.shape[2] == 1
    try:
        with open_image(payload) as image:
            return image.size, image.mode.startswith(GREY)
    except DAMAGE:
        return None
