"""Pickled dictionaries of arrays and text, read without running what a pickle may ask for.

What a pickled numpy array names is answered by stand-ins: a pickle may call them and give them a state, which they
check and from which an array of plain numbers is made. No code of numpy ever sees a state that a file holds (a dtype
whose state is set by hand makes numpy follow any pointer). Everything else that a pickle names is refused.

It is read by Python's own unpickler, not the one in C: twelve bytes make that one take 4 GB for its memo, and a key of
tuples inside tuples ends the process while it is hashed.
"""

import io
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray

from eyas.errors import DataError, one_line

_ARRAY_MODULES = {
    "numpy",
    "numpy.core.multiarray",
    "numpy._core.multiarray",
    "numpy.core.numeric",
    "numpy._core.numeric",
}
_PLAIN = re.compile(r"[|<>=]?(b1|[iu][1248]|f[248])")


def load_dictionary(path: Path) -> dict[str, Any]:
    """The dictionary that a file holds, keys as text.

    Raises:
        DataError: the file is no pickle, or names anything but an array of numbers.
    """
    try:
        content = _Unpickler(path.read_bytes()).load()
    except DataError as error:
        msg = f"{path.name}: {error}"
        raise DataError(msg) from error
    except Exception as error:  # a broken pickle raises nearly anything
        msg = f"{path.name} is no readable pickle: {type(error).__name__}: {one_line(error)}"
        raise DataError(msg) from error
    if not isinstance(content, dict):
        msg = f"{path.name} holds a {type(content).__name__}, a dictionary was expected"
        raise DataError(msg)
    return {
        key.decode("latin1") if isinstance(key, bytes) else str(key): value.values
        if isinstance(value, _Array)
        else value
        for key, value in content.items()
    }


def _refuse(what: str) -> NoReturn:
    msg = f"the pickle asks for {what}; refused, since a data file may hold arrays of numbers and text alone"
    raise DataError(msg)


class _Callable:
    """Something a pickle may call, and may not change."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call

    def __call__(self, *arguments: Any) -> Any:
        return self.call(*arguments)

    def __setstate__(self, state: Any) -> NoReturn:
        _refuse("a state for what it may only call")


class _Type:
    """A plain numeric type, in place of ``numpy.dtype``."""

    __slots__ = ("dtype",)

    def __init__(self, code: str | bytes, *_flags: Any) -> None:
        text = code.decode("latin1") if isinstance(code, bytes) else str(code)
        if not _PLAIN.fullmatch(text):
            _refuse(f"an array of type {text!r}")
        self.dtype = np.dtype(text)

    def __setstate__(self, state: Any) -> None:
        """Take the order of the bytes (second in numpy's state); what fields, sizes and flags say must be nothing."""
        order: Any = state[1].decode() if isinstance(state[1], bytes) else state[1]
        if order not in {"<", ">", "|", "="} or any(part is not None for part in state[2:5]):
            _refuse("an array of a type with fields")
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """An array, in place of ``numpy.ndarray``; empty until it gets its state."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: NDArray[Any] = np.empty(0, np.uint8)

    def __setstate__(self, state: Any) -> None:
        """(version, shape, type, whether columns come first, bytes)."""
        _, shape, kind, by_column, data = state
        self.values = _values(data, kind, shape, "F" if by_column else "C")


def _values(data: Any, kind: Any, shape: Any, order: Any) -> NDArray[Any]:
    if not isinstance(kind, _Type):
        _refuse(f"an array of type {type(kind).__name__}")
    return np.frombuffer(data, kind.dtype).reshape(shape, order=order)


def _array_of_buffer(data: Any, kind: Any, shape: Any, order: Any = "C") -> _Array:
    array = _Array()
    array.values = _values(data, kind, shape, order)
    return array


def _scalar(kind: Any, data: Any) -> Any:
    return _values(data, kind, (1,), "C")[0]


_KNOWN: dict[str, Callable[..., Any]] = {
    "_reconstruct": lambda _kind, _shape, _code: _Array(),
    "ndarray": lambda *_: _refuse("numpy.ndarray"),  # named, and not called, by what _reconstruct rebuilds
    "dtype": _Type,
    "scalar": _scalar,
    "_frombuffer": _array_of_buffer,
}


_UNUSED = pickle.NEXT_BUFFER + pickle.EMPTY_SET + pickle.ADDITEMS + pickle.FROZENSET


_PythonUnpickler: Any = pickle._Unpickler  # typeshed knows none of its methods


class _Unpickler(_PythonUnpickler):  # type: ignore[misc]
    """Resolves what rebuilds a numpy array to stand-ins, and nothing else; keys are text or numbers."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="bytes")
        self._bytes_left = len(content)

    def find_class(self, module: str, name: str) -> Any:
        if module == "_codecs" and name == "encode":  # how protocol 2 of Python 3 writes bytes
            return _Callable(self._encode)
        if module in _ARRAY_MODULES and name in _KNOWN:
            return _Callable(_KNOWN[name])
        return _refuse(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> NoReturn:
        _refuse(f"persistent object {pid!r}")

    def _encode(self, text: str, encoding: str = "latin1") -> bytes:
        """``codecs.encode`` for the one use that pickles of bytes make of it: once for each text in the file."""
        if encoding != "latin1":
            _refuse(f"text in encoding {encoding!r}, only latin1 is expected")
        self._bytes_left -= len(text)
        if self._bytes_left < 0:
            _refuse("more bytes than the file has")
        return text.encode("latin1")

    def _load_items(self) -> None:
        self._check_keys(self.stack[::2])
        super().load_setitems()

    def _load_item(self) -> None:
        self._check_keys(self.stack[-2:-1])
        super().load_setitem()

    def _load_bytes(self) -> None:
        """Only what the file holds: pickle's own way takes what is claimed."""
        (size,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(size)))

    def _load_dict(self) -> None:
        self._check_keys(self.stack[::2])
        super().load_dict()

    @staticmethod
    def _check_keys(keys: list[Any]) -> None:
        for key in keys:
            if not isinstance(key, (str, bytes, int, float)):
                _refuse(f"a key of type {type(key).__name__}")

    dispatch: ClassVar[dict[int, Callable[..., None]]] = {
        **{code: load for code, load in _PythonUnpickler.dispatch.items() if code not in _UNUSED},
        pickle.BYTEARRAY8[0]: _load_bytes,
        pickle.SETITEM[0]: _load_item,
        pickle.SETITEMS[0]: _load_items,
        pickle.DICT[0]: _load_dict,
    }
