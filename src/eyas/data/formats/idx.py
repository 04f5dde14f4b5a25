"""IDX, the format of MNIST: a magic number, sizes, then raw bytes; plain or gzipped.

Layout (big endian): two zero bytes, a type code (8: unsigned byte), the number of dimensions, one 32-bit size per
dimension, the values (yann.lecun.com/exdb/mnist).
"""

import gzip
import math
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from eyas.data.formats.base import Format, Listing
from eyas.data.formats.class_numbers import numbered_classes
from eyas.data.limits import DEFAULT_LIMITS, Limits
from eyas.data.payload import Payload
from eyas.errors import DataError

_NAME = re.compile(r"^(?P<stem>.*)(?P<kind>images|labels)[.-]idx(?P<rank>\d)(-ubyte)?(\.gz)?$")


class Idx(Format):
    """Pairs ``<stem>images-idx3-ubyte`` and ``<stem>labels-idx1-ubyte``, each plain or ``.gz``."""

    kind: Literal["idx"] = "idx"
    priority: ClassVar[int] = 3
    expects: ClassVar[str] = "IDX (*-ubyte)"

    @override
    @classmethod
    def recognises(cls, files: Sequence[str]) -> bool:
        return any(_NAME.match(PurePosixPath(name).name) for name in files)

    @override
    def list_images(self, root: Path, files: Sequence[str], limits: Limits = DEFAULT_LIMITS) -> Listing:
        pairs = _pairs(files)
        file, row, label = [], [], []
        for index, (images, labels) in enumerate(pairs):
            for name in (labels, images):
                shape = read_shape(root / name)
                limits.check_images(shape[0], math.prod(shape), (root / name).stat().st_size, name)
            values, count = read_idx(root / labels), shape[0]
            if values.ndim != 1 or len(values) != count:
                msg = f"{images} holds {count} images but {labels} holds labels of shape {values.shape}"
                raise DataError(msg)
            file.append(np.full(count, index, dtype=np.int64))
            row.append(np.arange(count, dtype=np.int64))
            label.append(values.astype(np.int64))
        labels_N = np.concatenate(label)
        return Listing(
            files=tuple(images for images, _ in pairs),
            file_indices=np.concatenate(file),
            rows=np.concatenate(row),
            labels=labels_N,
            classes=numbered_classes(labels_N, limits),
            named=False,
        )

    @override
    def read(self, path: Path, rows: Sequence[int]) -> Iterator[Payload]:
        images = read_idx(path)
        for row in rows:
            yield images[row]


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array a file holds; a plain file is mapped into memory, not read.

    Raises:
        DataError: it is no IDX file of unsigned bytes, or shorter or longer than its header says.
    """
    shape = read_shape(path)
    start, count = 4 + 4 * len(shape), math.prod(shape)
    if path.suffix == ".gz":
        try:
            with gzip.open(path) as file:
                file.seek(start)
                values = np.frombuffer(file.read(count + 1), dtype=np.uint8)
        except (OSError, EOFError, zlib.error) as error:
            msg = f"{path.name} cannot be unzipped: {error}"
            raise DataError(msg) from error
    else:
        size = path.stat().st_size
        values = np.memmap(path, dtype=np.uint8, mode="r", offset=start) if size > start else np.empty(0, np.uint8)
    if len(values) != count:
        held = "more" if len(values) > count else len(values)
        msg = f"{path.name} should hold {count} bytes after its header (shape {shape}), it holds {held}"
        raise DataError(msg)
    return values.reshape(shape)


def read_shape(path: Path) -> tuple[int, ...]:
    """The shape in a file's header.

    Raises:
        DataError: the header is not that of an IDX file of unsigned bytes.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            header = file.read(4)
            rank = header[3] if len(header) == 4 else 0
            sizes = file.read(4 * rank)
    except (OSError, EOFError, zlib.error) as error:
        msg = f"{path.name} cannot be read: {error}"
        raise DataError(msg) from error
    if header[:3] != b"\0\0\x08" or not rank or len(sizes) != 4 * rank or 0 in struct.unpack(f">{rank}I", sizes):
        msg = f"{path.name} is no IDX file of unsigned bytes: it starts with {header!r}, expected 00 00 08 and a rank"
        raise DataError(msg)
    return struct.unpack(f">{rank}I", sizes)


def write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    """Write an array of unsigned bytes."""
    header = b"\0\0\x08" + bytes([values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(header + np.ascontiguousarray(values).tobytes())


def _pairs(files: Sequence[str]) -> list[tuple[str, str]]:
    """Images and labels that share folder and stem."""
    pairs: dict[str, dict[str, str]] = {}
    for name in sorted(files):
        match = _NAME.match(PurePosixPath(name).name)
        if match:
            key = f"{PurePosixPath(name).parent}/{match['stem']}"
            pairs.setdefault(key, {})[match["kind"]] = name
    for pair in pairs.values():
        if len(pair) != 2:
            (kind, name), *_ = pair.items()
            missing = "labels" if kind == "images" else "images"
            msg = f"{name} has no {missing} file beside it: IDX needs both"
            raise DataError(msg)
    if not pairs:
        msg = "no IDX files: expected names such as train-images-idx3-ubyte and train-labels-idx1-ubyte"
        raise DataError(msg)
    return [(pair["images"], pair["labels"]) for pair in pairs.values()]
