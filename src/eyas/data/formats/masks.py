"""Images and masks of the same names: a class number per pixel."""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from eyas.data.formats.base import Format, Listing
from eyas.data.formats.image_files import is_image
from eyas.data.left_out import by_suffix
from eyas.data.limits import DEFAULT_LIMITS, Limits
from eyas.data.part_names import Use, read_part_name
from eyas.data.payload import Payload
from eyas.errors import DataError

IMAGES, MASKS, NAMES = "images", "masks", "classes.txt"


class Masks(Format):
    """Images at ``[part/]images/[...]name.jpg``, their masks as PNG at ``[part/]masks/[...]name.png``.

    A mask is as large as its image and holds a class number per pixel, as grey values of 8 bits or as the indices of
    a palette. Folders above or below that name parts (``train``, ``val``, ``test``) part the data set.
    """

    kind: Literal["masks"] = "masks"
    expects: ClassVar[str] = "images/ and masks/"
    task: ClassVar[str] = "segmentation"
    classes: tuple[str, ...] = ()
    """Names of the classes by their numbers; without them the lines of ``classes.txt`` beside ``images/``."""
    ignore: Annotated[int, Field(ge=0, le=255, strict=True)] | None = 255
    """Number of pixels that have no class: they are neither trained on nor judged."""

    @override
    @classmethod
    def recognises(cls, files: Sequence[str]) -> bool:
        folders = {part for name in files for part in PurePosixPath(name).parts[:-1]}
        return {IMAGES, MASKS} <= folders

    @override
    def resolved(self, root: Path, files: Sequence[str]) -> "Masks":
        return self.model_copy(update={"classes": self.classes or _read_names(root, files)})

    @override
    def list_images(self, root: Path, files: Sequence[str], limits: Limits = DEFAULT_LIMITS) -> Listing:
        classes = self.classes or _read_names(root, files)
        limits.check_classes(len(classes), root.name)
        pairs = _pairs(files)
        return Listing(
            files=tuple(pairs),
            file_indices=np.arange(len(pairs), dtype=np.int64),
            rows=np.full(len(pairs), -1, dtype=np.int64),
            labels=np.zeros(len(pairs), dtype=np.int64),
            classes=classes,
            in_own_order=True,
            masks=tuple(pairs.values()),
        )

    @override
    def uses(self, files: Sequence[str]) -> list[Use]:
        return [_use(name) for name in files]

    @override
    def left_out(self, files: Sequence[str]) -> Mapping[str, int]:
        used = {name for pair in _pairs(files).items() for name in pair}
        return by_suffix(name for name in files if name not in used and PurePosixPath(name).name != NAMES)

    @override
    def read(self, path: Path, rows: Sequence[int]) -> Iterator[Payload]:
        yield path.read_bytes()


def _pairs(files: Sequence[str]) -> dict[str, str]:
    """The mask of each image, by the image's file name.

    Raises:
        DataError: there is none, an image has no mask, a mask no image, or two images have the same mask.
    """
    pairs, masks = dict[str, str](), {name for name in files if _below(name, MASKS) and is_image(name)}
    for name in sorted(name for name in files if _below(name, IMAGES) and is_image(name)):
        mask = str(_moved(PurePosixPath(name), IMAGES, MASKS).with_suffix(".png"))
        if mask not in masks:
            stem = str(PurePosixPath(mask).with_suffix(""))
            others = [other for other in sorted(masks) if str(PurePosixPath(other).with_suffix("")) == stem]
            hint = f" (there is {others[0]}: masks are PNG, for other formats change the numbers)" if others else ""
            msg = f"{name} has no mask: expected {mask}{hint}; give it one, or remove the image"
            raise DataError(msg)
        if mask in pairs.values():
            msg = f"two images have the mask {mask}, one of them {name}: give each a name of its own"
            raise DataError(msg)
        pairs[name] = mask
    if not pairs:
        msg = f"no image: expected images in {IMAGES}/ and a PNG mask of the same name for each in {MASKS}/"
        raise DataError(msg)
    alone = sorted(masks - set(pairs.values()))
    if alone:
        msg = f"{alone[0]} has no image of the same name in {IMAGES}/ ({len(alone)} such): add it, or remove the mask"
        raise DataError(msg)
    return pairs


def _below(name: str, folder: str) -> bool:
    return folder in PurePosixPath(name).parts[:-1]


def _moved(path: PurePosixPath, folder: str, to: str) -> PurePosixPath:
    """The same place below the folder ``to``, which stands where the first ``folder`` does."""
    at = path.parts.index(folder)
    return PurePosixPath(*path.parts[:at], to, *path.parts[at + 1 :])


def _use(name: str) -> Use:
    """By the nearest folder that names a part."""
    for folder in reversed(PurePosixPath(name).parts[:-1]):
        part = read_part_name(folder)
        if part is not None:
            return part.use
    return "train"


def _read_names(root: Path, files: Sequence[str]) -> tuple[str, ...]:
    """Class names from the one ``classes.txt``, a name a line.

    Raises:
        DataError: there is none, or more than one that differ.
    """
    lists = {(root / name).read_text("utf-8") for name in files if PurePosixPath(name).name == NAMES}
    if len(lists) != 1:
        what = "there is none" if not lists else f"there are {len(lists)} that differ"
        msg = (
            f"masks hold numbers alone: expected their names in {NAMES}, a line each, and {what}; or name them in "
            "`format`: {kind: masks, classes: [...]}"
        )
        raise DataError(msg)
    return tuple(unicodedata.normalize("NFC", line.strip()) for line in lists.pop().strip().splitlines())
