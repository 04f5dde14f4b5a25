"""A few images of a large source, without storing the rest.

The images with the smallest content hashes are found by looking at all of them once, in passing: a tree is streamed
file by file, a table row group by row group. What is kept gives the same data set as storing everything would.
"""

import heapq
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from eyas.data.archives import is_archive
from eyas.data.formats import detect
from eyas.data.formats.folder import Folder, is_image
from eyas.data.formats.parquet import Parquet, class_names, open_parquet
from eyas.data.image_reader import content_hash
from eyas.data.partitions import own_test
from eyas.errors import DataError


class Named(Protocol):
    """A file of a listing."""

    @property
    def name(self) -> str:
        """Relative to what was listed."""


class Remote(Protocol):
    """What reads files at addresses (``eyas.storage.Store`` does)."""

    def bring(self, address: str, folder: Path) -> None:
        """Put the file, or all files below a prefix, into ``folder``."""

    def entries(self, address: str) -> Iterable[Named]:
        """All files below an address."""

    def open(self, address: str) -> BinaryIO:
        """A seekable file."""

    def stream(self, address: str) -> Iterator[tuple[Named, bytes]]:
        """The content of all files below an address."""


@dataclass
class Smallest:
    """Keeps the ``count`` items with the smallest digests."""

    count: int
    _heap: list[tuple[int, int, Any]] = field(default_factory=list)
    _seen: int = 0

    def offer(self, data: bytes, item: Any) -> None:
        """Consider one image; ``item`` is what to remember of it."""
        self._seen += 1
        key = -int(content_hash(data), 16), -self._seen, item
        if len(self._heap) < self.count:
            heapq.heappush(self._heap, key)
        elif key[:2] > self._heap[0][:2]:
            heapq.heapreplace(self._heap, key)

    def items(self) -> list[Any]:
        """What was kept, in the order it came."""
        return [item for _, _, item in sorted(self._heap, key=lambda entry: -entry[1])]


def sample(address: str, folder: Path, remote: Remote, count: int, *, kind: str, table: Parquet) -> bool:
    """Put the ``count`` images with the smallest content hashes into ``folder``; False where the source forbids it.

    ``kind`` names the format, or is ``auto``; ``table`` names the columns of Parquet. An archive, a source with a test
    set of its own and other formats are left alone.

    Raises:
        DataError: a table is damaged, or a class lost all its images.
    """
    names = sorted(entry.name for entry in remote.entries(address))
    if any(map(is_archive, names)):
        return False
    if kind == "auto":
        kind = detect(folder, names)
    if kind not in {"parquet", "folder"} or any(own_test(folder.name, names)):
        return False
    folder.mkdir(parents=True)
    if kind == "folder":
        _sample_tree(address, names, remote, count, folder)
    else:
        tables = [name for name in names if name.endswith(".parquet")]
        _sample_tables(address, tables, remote, table, count).write(folder)
    return True


def _sample_tree(address: str, names: list[str], remote: Remote, count: int, folder: Path) -> None:
    """Stream a folder per class, and write the files that are kept."""
    kept = Smallest(count)
    for entry, data in remote.stream(address):
        if is_image(entry.name):
            kept.offer(data, (entry.name, data))
    chosen = dict(kept.items())
    before, after = (Folder().list_images(folder, list(listed)).classes for listed in (names, chosen))
    if before != after:
        msg = f"class {min(set(before) - set(after))!r} has no image among the fetch.max_images {count}: allow more"
        raise DataError(msg)
    for name, data in chosen.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


@dataclass
class _Rows:
    """Rows kept from tables."""

    images: list[bytes]
    labels: list[Any]
    classes: tuple[str, ...]

    def write(self, folder: Path) -> None:
        """One table with all rows."""
        table = pa.table({"image": pa.array(self.images, pa.binary()), "label": self.labels})
        metadata = {"class_names": json.dumps(self.classes)}
        pq.write_table(table.replace_schema_metadata(metadata), folder / "sample.parquet", compression="none")


def _sample_tables(address: str, names: list[str], remote: Remote, form: Parquet, count: int) -> _Rows:
    """Stream the rows of tables."""
    kept = Smallest(count)
    classes: tuple[str, ...] | None = None
    seen: set[Any] = set()
    for name in names:
        with remote.open(_below(address, name)) as source:
            file = open_parquet(source)
            _, label = form.columns(file.schema_arrow, name)
            found = class_names(file.schema_arrow, label)
            if classes is not None and found is not None and found != classes:
                msg = f"{name} lists other class names than the tables before it"
                raise DataError(msg)
            classes = classes or found
            for data, value in form.stream(file, name):
                seen.add(value)
                kept.offer(data, (data, value))
    rows = kept.items()
    return _Rows([data for data, _ in rows], [value for _, value in rows], classes or _classes_of(seen))


def _classes_of(labels: set[Any]) -> tuple[str, ...]:
    """The classes of labels without names."""
    if all(isinstance(label, int) for label in labels):
        return tuple(str(number) for number in range(max(labels, default=-1) + 1))
    return tuple(sorted(labels))


def _below(address: str, name: str) -> str:
    """The address of a listed file: below a prefix, beside a pattern, or the address itself."""
    last = address.rstrip("/").rsplit("/", 1)[-1].split("?", 1)[0]
    if last == name:
        return address
    if "*" in last:
        return f"{address.rsplit('/', 1)[0]}/{name}" if "/" in address else name
    return f"{address.rstrip('/')}/{name}"
