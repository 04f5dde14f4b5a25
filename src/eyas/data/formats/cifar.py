"""CIFAR's pickled batches.

A batch is a dictionary: ``data`` (N, 3072) unsigned bytes in the order channel, row, column; ``labels`` (CIFAR-10)
or ``fine_labels`` (CIFAR-100) a list of N numbers (cs.toronto.edu/~kriz/cifar.html).
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from eyas.data.formats.base import Format, Listing
from eyas.data.formats.class_numbers import numbered_classes
from eyas.data.formats.safe_pickle import load_dictionary
from eyas.data.limits import DEFAULT_LIMITS, Limits
from eyas.data.payload import Payload
from eyas.errors import DataError

_BATCH = re.compile(r"^(data_batch_\d+|test_batch|train|test)(\.pkl|\.bin)?$")
_META = frozenset({"batches.meta", "meta"})


class Cifar(Format):
    """``data_batch_1`` ... ``test_batch`` of CIFAR-10, ``train`` and ``test`` of CIFAR-100; 32 x 32 RGB."""

    kind: Literal["cifar"] = "cifar"
    priority: ClassVar[int] = 2
    expects: ClassVar[str] = "CIFAR's batches (data_batch_1 ...)"

    @override
    @classmethod
    def recognises(cls, files: Sequence[str]) -> bool:
        return any(_BATCH.match(PurePosixPath(name).name) for name in files)

    @override
    def list_images(self, root: Path, files: Sequence[str], limits: Limits = DEFAULT_LIMITS) -> Listing:
        batches = sorted(name for name in files if _BATCH.match(PurePosixPath(name).name))
        if not batches:
            msg = "no CIFAR batches: expected data_batch_1 ..., test_batch, train or test"
            raise DataError(msg)
        labels = [_labels(root / name, limits) for name in batches]
        label_N = np.concatenate(labels)
        names = _class_names(root, files)
        limits.check_classes(len(names or ()), root.name)
        return Listing(
            files=tuple(batches),
            file_indices=np.repeat(np.arange(len(batches), dtype=np.int64), [len(part) for part in labels]),
            rows=np.concatenate([np.arange(len(part), dtype=np.int64) for part in labels]),
            labels=label_N,
            classes=names or numbered_classes(label_N, limits),
            named=names is not None,
            in_own_order=names is not None,
        )

    @override
    def read(self, path: Path, rows: Sequence[int]) -> Iterator[Payload]:
        images = _images(path)
        for row in rows:
            yield images[row]


@lru_cache(maxsize=2)  # one batch is 30 MB (CIFAR-100: 150 MB)
def _images(path: Path) -> NDArray[np.uint8]:
    """All images of a batch, shape (N, 32, 32, 3)."""
    data = load_dictionary(path).get("data")
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072:
        form = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        msg = f"{path.name}: 'data' must be (N, 3072) unsigned bytes, it is {form}"
        raise DataError(msg)
    return np.ascontiguousarray(data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _labels(path: Path, limits: Limits) -> NDArray[np.int64]:
    content = load_dictionary(path)
    labels = content.get("fine_labels", content.get("labels"))
    images = _images(path)
    count = len(images)
    limits.check_images(count, images.nbytes, path.stat().st_size, path.name)
    if not isinstance(labels, list) or len(labels) != count:
        held = f"{len(labels)} labels" if isinstance(labels, list) else "no list 'labels' or 'fine_labels'"
        msg = f"{path.name} holds {count} images but {held}"
        raise DataError(msg)
    wrong = next((label for label in labels if not isinstance(label, int) or abs(label) >= 2**63), None)
    if wrong is not None:
        msg = f"{path.name} holds the label {str(wrong)[:20]}: labels are class numbers"
        raise DataError(msg)
    return np.array(labels, dtype=np.int64)


def _class_names(root: Path, files: Sequence[str]) -> tuple[str, ...] | None:
    """The names in ``batches.meta`` or ``meta``, where there is one."""
    for name in files:
        if PurePosixPath(name).name in _META:
            content = load_dictionary(root / name)
            names = content.get("fine_label_names", content.get("label_names"))
            if isinstance(names, list) and all(isinstance(text, (bytes, str)) for text in names):
                return tuple(text.decode(errors="replace") if isinstance(text, bytes) else text for text in names)
    return None
