"""CIFAR's pickled batches, read without running what a pickle may ask for.

A batch is a dictionary: ``data`` (N, 3072) unsigned bytes in the order channel, row, column; ``labels`` (CIFAR-10)
or ``fine_labels`` (CIFAR-100) a list of N numbers (cs.toronto.edu/~kriz/cifar.html). The unpickler knows the three
callables that rebuild a numpy array of bytes, and refuses everything else a pickle names.
"""

import io
import pickle
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from eyas.data.formats.base import Format, Listing, Payload
from eyas.errors import DataError

_BATCH = re.compile(r"^(data_batch_\d+|test_batch|train|test)(\.pkl|\.bin)?$")
_META = frozenset({"batches.meta", "meta"})
_ARRAY_PARTS = {"_reconstruct", "ndarray", "dtype", "scalar", "_frombuffer"}
_ARRAY_MODULES = {
    "numpy",
    "numpy.core.multiarray",
    "numpy._core.multiarray",
    "numpy.core.numeric",
    "numpy._core.numeric",
}


class Cifar(Format):
    """``data_batch_1`` ... ``test_batch`` of CIFAR-10, ``train`` and ``test`` of CIFAR-100; 32 x 32 RGB."""

    kind: Literal["cifar"] = "cifar"

    @override
    @classmethod
    def recognises(cls, files: Sequence[str], root: Path) -> bool:
        return any(_BATCH.match(PurePosixPath(name).name) for name in files)

    @override
    def list_images(self, root: Path, files: Sequence[str]) -> Listing:
        batches = sorted(name for name in files if _BATCH.match(PurePosixPath(name).name))
        if not batches:
            msg = "no CIFAR batches: expected data_batch_1 ..., test_batch, train or test"
            raise DataError(msg)
        labels = [_labels(root / name) for name in batches]
        label_N = np.concatenate(labels)
        names = _class_names(root, files)
        return Listing(
            files=tuple(batches),
            file_indices=np.repeat(np.arange(len(batches), dtype=np.int64), [len(part) for part in labels]),
            rows=np.concatenate([np.arange(len(part), dtype=np.int64) for part in labels]),
            labels=label_N,
            classes=names or tuple(str(number) for number in range(int(label_N.max(initial=-1)) + 1)),
            named=names is not None,
        )

    @override
    def read(self, path: Path, rows: Sequence[int]) -> Iterator[Payload]:
        images = _images(path)
        for row in rows:
            yield images[row]


def load(path: Path) -> dict[str, Any]:
    """The dictionary of a batch or meta file, keys as text.

    Raises:
        DataError: the file is no pickle, or names anything but an array of numbers.
    """
    try:
        content = _Unpickler(io.BytesIO(path.read_bytes()), encoding="bytes").load()
    except DataError as error:
        msg = f"{path.name}: {error}"
        raise DataError(msg) from error
    except Exception as error:  # a broken pickle raises nearly anything
        msg = f"{path.name} is no readable pickle: {type(error).__name__}: {error}"
        raise DataError(msg) from error
    if not isinstance(content, dict):
        msg = f"{path.name} holds a {type(content).__name__}, a CIFAR batch is a dictionary"
        raise DataError(msg)
    return {key.decode() if isinstance(key, bytes) else str(key): value for key, value in content.items()}


class _Unpickler(pickle.Unpickler):
    """Resolves what rebuilds a numpy array, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "_codecs" and name == "encode":  # how protocol 2 of Python 3 writes bytes
            return _encode
        if module in _ARRAY_MODULES and name in _ARRAY_PARTS:
            return _numpy_part(name)
        return self._refuse(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> NoReturn:
        self._refuse(f"persistent object {pid!r}")

    @staticmethod
    def _refuse(what: str) -> NoReturn:
        msg = f"the pickle asks for {what}; refused, since a data file may hold arrays and text alone"
        raise DataError(msg)


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """``codecs.encode`` for the one use pickles of bytes make of it."""
    if encoding != "latin1":
        msg = f"text in encoding {encoding!r}; only latin1 is expected"
        raise DataError(msg)
    return text.encode("latin1")


def _numpy_part(name: str) -> Callable[..., Any]:
    """The callable of numpy that a pickled array names."""
    from numpy._core import multiarray, numeric

    parts = {
        "_reconstruct": multiarray._reconstruct,
        "scalar": multiarray.scalar,
        "_frombuffer": numeric._frombuffer,  # type: ignore[attr-defined]
        "ndarray": np.ndarray,
        "dtype": np.dtype,
    }
    return parts[name]  # type: ignore[no-any-return]


@lru_cache(maxsize=2)  # one batch is 30 MB (CIFAR-100: 150 MB)
def _images(path: Path) -> NDArray[np.uint8]:
    """All images of a batch, shape (N, 32, 32, 3)."""
    data = load(path).get("data")
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072:
        found = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        msg = f"{path.name}: 'data' must be (N, 3072) unsigned bytes, it is {found}"
        raise DataError(msg)
    return np.ascontiguousarray(data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _labels(path: Path) -> NDArray[np.int64]:
    content = load(path)
    labels = content.get("fine_labels", content.get("labels"))
    count = len(_images(path))
    if not isinstance(labels, list) or len(labels) != count:
        found = f"{len(labels)} labels" if isinstance(labels, list) else "no list 'labels' or 'fine_labels'"
        msg = f"{path.name} holds {count} images but {found}"
        raise DataError(msg)
    return np.array(labels, dtype=np.int64)


def _class_names(root: Path, files: Sequence[str]) -> tuple[str, ...] | None:
    """The names in ``batches.meta`` or ``meta``, where there is one."""
    for name in files:
        if PurePosixPath(name).name in _META:
            content = load(root / name)
            names = content.get("fine_label_names", content.get("label_names"))
            if isinstance(names, list):
                return tuple(text.decode() if isinstance(text, bytes) else str(text) for text in names)
    return None
