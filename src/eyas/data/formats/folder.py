"""One folder per class, one image per file (ImageNet's layout)."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from eyas.data.formats.base import Listing
from eyas.data.formats.folder_layout import read_layout
from eyas.data.formats.image_files import ImageFiles, choose_images, is_image, write_images
from eyas.data.left_out import by_suffix, in_words, is_hidden
from eyas.data.limits import DEFAULT_LIMITS, Limits
from eyas.data.part_names import Use
from eyas.data.remote_files import RemoteFiles
from eyas.errors import DataError

# Images that are not read: a class of nothing else would vanish without a word.
_UNREAD_SUFFIXES = frozenset(
    {
        "", ".heic", ".heif", ".avif", ".jfif", ".jpe", ".jp2", ".j2k", ".jxl", ".svg", ".psd", ".tga", ".ico", ".exr",
        ".hdr", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".dcm", ".npy",
    }
)  # fmt: skip


class Folder(ImageFiles):
    """Images at ``[prefix/]class/[...]image``; classes are sorted by name.

    A prefix that all files share (``train/``, ``dataset/images/``) is skipped, and so are folders that part a data set
    (``train`` and ``test``, ``Training`` and ``Testing``, ``train2017`` and ``val2017``); folders below the class are
    free. Hidden folders and those of systems and editors (``.git``, ``@eaDir``) count as absent.
    """

    kind: Literal["folder"] = "folder"
    priority: ClassVar[int] = 1
    expects: ClassVar[str] = "a folder per class"
    class_level: Annotated[int, Field(ge=0)] | None = None
    """How many folders lie above the class folders; without it, found by their names."""

    @override
    @classmethod
    def recognises(cls, files: Sequence[str]) -> bool:
        return any(is_image(name) and "/" in name for name in files)

    @override
    def resolved(self, root: Path, files: Sequence[str]) -> "Folder":
        images = sorted(name for name in files if is_image(name))
        return Folder(class_level=read_layout(images, self.class_level).class_level)

    @override
    def list_images(self, root: Path, files: Sequence[str], limits: Limits = DEFAULT_LIMITS) -> Listing:
        images = sorted(name for name in files if is_image(name))
        level = read_layout(images, self.class_level).class_level
        names = [unicodedata.normalize("NFC", PurePosixPath(name).parts[level]) for name in images]
        _check_no_class_lost(images, files, level)
        classes = sorted(set(names))
        limits.check_classes(len(classes), root.name)
        label = {name: index for index, name in enumerate(classes)}
        return Listing(
            files=tuple(images),
            file_indices=np.arange(len(images), dtype=np.int64),
            rows=np.full(len(images), -1, dtype=np.int64),
            labels=np.array([label[name] for name in names], dtype=np.int64),
            classes=tuple(classes),
        )

    @override
    def uses(self, files: Sequence[str]) -> list[Use]:
        images = [name for name in files if is_image(name)]
        use = dict(zip(images, read_layout(images, self.class_level).uses, strict=True))
        return [use.get(name, "train") for name in files]

    @override
    def write_subset(self, files: RemoteFiles, count: int, folder: Path, limits: Limits = DEFAULT_LIMITS) -> bool:
        kept = choose_images(files, count)
        before, after = (self.list_images(folder, list(names), limits).classes for names in (files.names, kept))
        if before != after:
            msg = f"class {min(set(before) - set(after))!r} has no image among the `max_images` {count}: allow more"
            raise DataError(msg)
        write_images(kept, folder)
        return True


def _check_no_class_lost(images: Sequence[str], files: Sequence[str], level: int) -> None:
    """Every folder among the class folders that holds images holds some that are read."""
    classes = {PurePosixPath(name).parts[: level + 1] for name in images}
    above = {folder[:level] for folder in classes}
    lost: dict[tuple[str, ...], list[str]] = {}
    for path in (PurePosixPath(name) for name in files if not is_hidden(name)):
        folder = path.parts[: level + 1]
        inside = len(path.parts) > level + 1 and folder[:level] in above and folder not in classes
        if inside and path.suffix.lower() in _UNREAD_SUFFIXES:
            lost.setdefault(folder, []).append(path.name)
    if lost:
        folder, held = min(lost.items())
        others = by_suffix(name for name in files if not is_image(name) and not is_hidden(name))
        msg = (
            f"class {folder[-1]!r} has no image that can be read: its files are {in_words(by_suffix(held))}. Left out "
            f"in all: {sum(others.values())} files ({in_words(others)}). Convert them to JPEG or PNG, or remove the "
            "class"
        )
        raise DataError(msg)
