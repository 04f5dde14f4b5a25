"""Pickled dictionaries of arrays and text, read without running what a pickle may ask for.

The unpickler knows the callables that rebuild a numpy array of bytes, and refuses everything else a pickle names.
"""

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from eyas.errors import DataError

_ARRAY_PARTS = {"_reconstruct", "ndarray", "dtype", "scalar", "_frombuffer"}
_ARRAY_MODULES = {
    "numpy",
    "numpy.core.multiarray",
    "numpy._core.multiarray",
    "numpy.core.numeric",
    "numpy._core.numeric",
}


def load_dictionary(path: Path) -> dict[str, Any]:
    """The dictionary that a file holds, keys as text.

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
        msg = f"{path.name} holds a {type(content).__name__}, a dictionary was expected"
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
