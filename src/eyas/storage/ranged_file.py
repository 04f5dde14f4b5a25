"""A remote file that reads like a local one: seekable, fetching the ranges that are asked for."""

import io
from collections.abc import Callable
from typing import Any

from typing_extensions import override

Fetch = Callable[[int, int], bytes]
_WINDOW = 1 << 20


class RangedFile(io.RawIOBase):
    """A read-only file over ``fetch(start, stop)``.

    A request brings at least ``window`` bytes, so that many small reads in a row (a table's footer) cost one.
    """

    def __init__(self, fetch: Fetch, size: int, window: int = _WINDOW) -> None:
        super().__init__()
        self._fetch, self._size, self._window = fetch, size, window
        self._position = 0
        self._start, self._data = 0, b""
        self.fetched = 0
        """Bytes that were brought so far."""

    @override
    def readable(self) -> bool:
        return True

    @override
    def seekable(self) -> bool:
        return True

    @override
    def tell(self) -> int:
        return self._position

    @override
    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            msg = f"cannot go to position {base + offset}"
            raise ValueError(msg)
        self._position = base + offset
        return self._position

    @override
    def read(self, size: int | None = -1) -> bytes:
        stop = self._size if size is None or size < 0 else min(self._position + size, self._size)
        if stop <= self._position:
            return b""
        if self._position < self._start or stop > self._start + len(self._data):
            self._bring(stop)
        begin = self._position - self._start
        data = self._data[begin : begin + stop - self._position]
        self._position = stop
        return data

    @override
    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _bring(self, stop: int) -> None:
        """Fetch a window that holds the wanted bytes; near the end of the file it reaches backwards."""
        start = self._position
        until = min(max(stop, start + self._window), self._size)
        start = min(start, max(until - self._window, 0)) if until == self._size else start
        self._data = self._fetch(start, until)
        self._start = start
        self.fetched += len(self._data)
