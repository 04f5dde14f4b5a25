"""What formats of one image per file share: which files are images, how they are read and a subset is written."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from typing_extensions import override

from eyas.data.formats.base import Format
from eyas.data.left_out import by_suffix, is_hidden
from eyas.data.payload import Payload
from eyas.data.remote_files import RemoteFiles
from eyas.data.smallest_hashes import SmallestHashes

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm"})


def is_image(name: str) -> bool:
    """Whether a file name ends as images do; hidden files are none."""
    return PurePosixPath(name).suffix.lower() in _SUFFIXES and not is_hidden(name)


class ImageFiles(Format):
    """One image per file."""

    @override
    def left_out(self, files: Sequence[str]) -> Mapping[str, int]:
        return by_suffix(name for name in files if not is_image(name))

    @override
    def read(self, path: Path, rows: Sequence[int]) -> Iterator[Payload]:
        yield path.read_bytes()


def choose_images(files: RemoteFiles, count: int) -> dict[str, bytes]:
    """The images whose contents have the ``count`` smallest hashes, by name."""
    smallest = SmallestHashes(count)
    for name, data in files.contents():
        if is_image(name):
            smallest.offer(data, (name, data))
    return dict(smallest.items())


def write_images(images: Mapping[str, bytes], folder: Path) -> None:
    """Each image below ``folder``, by its name."""
    for name, data in images.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
