"""What a Parquet file's columns unpack to, read from its headers alone, before pyarrow takes the memory.

pyarrow trusts the sizes that a page's header claims, whatever the footer says, and ends the process where some damaged
footers are asked for theirs. So both are read here: Thrift's compact protocol (github.com/apache/thrift, doc/specs)
as far as ``FileMetaData`` and ``PageHeader`` (github.com/apache/parquet-format) need it.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, BinaryIO

_MAGIC = b"PAR1"
_PAGE_HEADERS = (2**12, 2**24)  # bytes of a page's header to try
_DEEPEST = 16  # structs inside structs
Struct = dict[int, Any]


def column_sizes(file: BinaryIO, columns: Sequence[str], *, walk: bool) -> Iterator[int]:
    """Unpacked bytes of each column of these names in each row group, columns inside a struct on their own.

    The larger of what the footer says and, with ``walk``, what the headers of all pages say together.

    Raises:
        ValueError, EOFError: the file is cut short, or its headers are none.
    """
    footer = _read_footer(file)
    for group in _list(footer, 4):
        for chunk in _list(group, 1):
            meta = _field(chunk, 3, dict)
            if _name(meta) in columns:
                yield max(_field(meta, 6, int), sum(_page_sizes(file, meta)) if walk else 0)


def _read_footer(file: BinaryIO) -> Struct:
    size = file.seek(0, 2)
    file.seek(max(size - 8, 0))
    length, magic = int.from_bytes(file.read(4), "little"), file.read(4)
    if magic != _MAGIC or not 0 < length <= size - 8:
        msg = f"it ends with {magic!r} after a footer of {length} bytes"
        raise ValueError(msg)
    file.seek(size - 8 - length)
    return _Reader(file.read(length)).struct()


def _page_sizes(file: BinaryIO, meta: Struct) -> Iterator[int]:
    """Unpacked bytes of each page of a column chunk."""
    data = _field(meta, 9, int)
    start = min(data, _field(meta, 11, int)) if meta.get(11) else data
    stop = start + _field(meta, 7, int)
    while start < stop:
        header, length = _read_page_header(file, start)
        packed = _field(header, 3, int)
        if packed < 0:
            msg = f"a page of {packed} bytes"
            raise ValueError(msg)
        yield _field(header, 2, int)
        start += length + packed


def _read_page_header(file: BinaryIO, start: int) -> tuple[Struct, int]:
    """The header and its length, which may be large where it holds the smallest and the largest value."""
    for size in _PAGE_HEADERS:
        file.seek(start)
        reader = _Reader(file.read(size))
        with suppress(EOFError):
            return reader.struct(), reader.position
    msg = f"the page at {start} has no header"
    raise ValueError(msg)


def _name(meta: Struct) -> str:
    """The first part of a column's path."""
    path = _list(meta, 3)
    if not path or not isinstance(path[0], bytes):
        msg = f"a column's path is {path!r:.40}"
        raise ValueError(msg)
    return path[0].decode()


def _field(struct: Struct, number: int, kind: type) -> Any:
    value = struct.get(number) if isinstance(struct, dict) else None
    if not isinstance(value, kind):
        msg = f"field {number} of a header is {value!r:.40}"
        raise ValueError(msg)
    return value


def _list(struct: Struct, number: int) -> list[Any]:
    values: list[Any] = _field(struct, number, list)
    return values


class _Reader:
    """Values in Thrift's compact protocol."""

    def __init__(self, data: bytes) -> None:
        self._data, self.position = data, 0

    def struct(self, depth: int = 0) -> Struct:
        """The fields by their numbers."""
        fields: Struct = {}
        number = 0
        while (head := self._byte()) != 0:
            number = number + (head >> 4) if head >> 4 else self._integer()
            fields[number] = head & 15 == 1 if head & 15 in {1, 2} else self._value(head & 15, depth + 1)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if depth > _DEEPEST:
            msg = "headers are nested too deeply"
            raise ValueError(msg)
        if kind in {1, 2, 3}:  # inside a list a truth takes a byte of its own
            return self._byte()
        if kind in {4, 5, 6}:
            return self._integer()
        if kind == 7:
            return self._bytes(8)
        if kind == 8:
            return self._bytes(self._varint())
        if kind in {9, 10}:
            head = self._byte()
            size = head >> 4 if head >> 4 != 15 else self._varint()
            return [self._value(head & 15, depth + 1) for _ in range(size)]
        if kind == 12:
            return self.struct(depth)
        msg = f"a header holds a value of type {kind}"
        raise ValueError(msg)

    def _byte(self) -> int:
        return self._bytes(1)[0]

    def _bytes(self, size: int) -> bytes:
        start, self.position = self.position, self.position + size
        if self.position > len(self._data):
            msg = "its headers are cut short"
            raise EOFError(msg)
        return self._data[start : self.position]

    def _varint(self) -> int:
        value, shift = 0, 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 63:
                msg = "a header holds a number without end"
                raise ValueError(msg)

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
