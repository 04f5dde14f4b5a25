"""One folder per class, one image per file (ImageNet's layout)."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal

import numpy as np
from typing_extensions import override

from eyas.data.formats.base import Format, Listing
from eyas.data.payload import Payload
from eyas.data.remote_files import RemoteFiles
from eyas.data.smallest_hashes import SmallestHashes
from eyas.errors import DataError

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm"})
_SPLIT_FOLDERS = frozenset({"train", "test", "val", "validation"})


def is_image(name: str) -> bool:
    """Whether a file name ends as images do; hidden files are none."""
    path = PurePosixPath(name)
    return path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")


class Folder(Format):
    """Images at ``[prefix/]class/[...]image``; classes are sorted by name.

    A prefix that all files share (``train/``, ``dataset/images/``) is skipped, and so are the folders ``train`` and
    ``test`` (or ``val``) that part a data set; folders below the class are free.
    """

    kind: Literal["folder"] = "folder"
    priority: ClassVar[int] = 1
    expects: ClassVar[str] = "a folder per class"

    @override
    @classmethod
    def recognises(cls, files: Sequence[str]) -> bool:
        return any(is_image(name) and "/" in name for name in files)

    @override
    def list_images(self, root: Path, files: Sequence[str]) -> Listing:
        images = sorted(name for name in files if is_image(name))
        depth = _shared_depth(images)
        names = [PurePosixPath(name).parts for name in images]
        stray = [name for name, parts in zip(images, names, strict=True) if len(parts) < depth + 2]
        if not images or stray:
            fault = f"{stray[0]} lies beside the class folders" if stray else "there is no image file"
            msg = f"a folder per class was expected (class/image.jpg): {fault}"
            raise DataError(msg)
        classes = sorted({parts[depth] for parts in names})
        label = {name: index for index, name in enumerate(classes)}
        return Listing(
            files=tuple(images),
            file_indices=np.arange(len(images), dtype=np.int64),
            rows=np.full(len(images), -1, dtype=np.int64),
            labels=np.array([label[parts[depth]] for parts in names], dtype=np.int64),
            classes=tuple(classes),
        )

    @override
    def read(self, path: Path, rows: Sequence[int]) -> Iterator[Payload]:
        yield path.read_bytes()

    @override
    def write_subset(self, files: RemoteFiles, count: int, folder: Path) -> bool:
        smallest = SmallestHashes(count)
        for name, data in files.contents():
            if is_image(name):
                smallest.offer(data, (name, data))
        kept = dict(smallest.items())
        before, after = (self.list_images(folder, list(names)).classes for names in (files.names, kept))
        if before != after:
            msg = f"class {min(set(before) - set(after))!r} has no image among the `max_images` {count}: allow more"
            raise DataError(msg)
        for name, data in kept.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        return True


def _shared_depth(images: Sequence[str]) -> int:
    """How many leading folders all images share, as long as class folders remain below."""
    folders = [PurePosixPath(name).parts[:-1] for name in images]
    if not folders:
        return 0
    first, last, shortest = min(folders), max(folders), min(map(len, folders))
    shared = 0
    while shared < shortest - 1 and first[shared] == last[shared]:
        shared += 1
    if shared < shortest - 1 and {parts[shared] for parts in folders} <= _SPLIT_FOLDERS:
        return shared + 1
    return shared
