"""Parquet with a column of encoded images and a column of labels, as on the Hugging Face Hub."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from typing_extensions import override

from eyas.data.formats.base import Format, Listing, Payload
from eyas.errors import DataError

_BATCH_ROWS = 256
_BUFFER = 8 * 2**20  # bytes of a remote column at a time


class Parquet(Format):
    """Images as binary, or as a struct with a field ``bytes``; labels as integers or text."""

    kind: Literal["parquet"] = "parquet"
    image_column: str | None = None
    """Without it the only column that holds images."""
    label_column: str | None = None
    """Without it the only column of integers, else the only one of text."""

    @override
    @classmethod
    def recognises(cls, files: Sequence[str], root: Path) -> bool:
        return any(name.endswith(".parquet") for name in files)

    @override
    def resolved(self, root: Path, files: Sequence[str]) -> "Parquet":
        tables = _tables(files)
        schema = open_parquet(root / tables[0]).schema_arrow
        image, label = self.columns(schema, tables[0])
        return Parquet(image_column=image, label_column=label)

    @override
    def list_images(self, root: Path, files: Sequence[str]) -> Listing:
        tables = _tables(files)
        names: tuple[str, ...] | None = None
        values: list[pa.ChunkedArray] = []
        for name in tables:
            file = open_parquet(root / name)
            _, label = self.columns(file.schema_arrow, name)
            found = class_names(file.schema_arrow, label)
            if names is not None and found is not None and found != names:
                msg = f"{name} lists other class names than {tables[0]}: {found[:5]} ..., expected {names[:5]} ..."
                raise DataError(msg)
            names = names or found
            values.append(_label_column(file, label, name))
        label_N, classes = _encode(values, names)
        counts = [len(part) for part in values]
        return Listing(
            files=tables,
            file_indices=np.repeat(np.arange(len(tables), dtype=np.int64), counts),
            rows=np.concatenate([np.arange(count, dtype=np.int64) for count in counts]),
            labels=label_N,
            classes=classes,
            named=names is not None or not pa.types.is_integer(values[0].type),
        )

    @override
    def read(self, path: Path, rows: Sequence[int]) -> Iterator[Payload]:
        file = open_parquet(path)
        column, _ = self.columns(file.schema_arrow, path.name)
        try:
            for row, cell in _cells(file, column, np.asarray(rows, dtype=np.int64)):
                yield _image(cell, path.name, row)
        except (pa.ArrowInvalid, OSError) as error:
            msg = f"{path.name} cannot be read: {error}"
            raise DataError(msg) from error

    def stream(self, file: pq.ParquetFile, name: str) -> Iterator[tuple[bytes, Any]]:
        """(image, label) of every row in passing; ``name`` says of which file in errors.

        Raises:
            DataError: the file is damaged, or an image or a label is missing.
        """
        image, label = self.columns(file.schema_arrow, name)
        row = 0
        try:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=[image, label]):
                cells = _bytes_of(batch.column(image))
                for cell, value in zip(cells.to_pylist(), batch.column(label).to_pylist(), strict=True):
                    if value is None:
                        msg = f"{name} row {row}: the label {label!r} is missing"
                        raise DataError(msg)
                    yield _image(cell, name, row), value
                    row += 1
        except (pa.ArrowInvalid, OSError) as error:
            msg = f"{name} cannot be read: {error}"
            raise DataError(msg) from error

    def columns(self, schema: pa.Schema, name: str) -> tuple[str, str]:
        """Names of the image and the label column.

        Raises:
            DataError: a named one does not fit, or several do and none is named.
        """
        images = [field.name for field in schema if _holds_images(field.type)]
        integers = [field.name for field in schema if pa.types.is_integer(field.type)]
        texts = [field.name for field in schema if _is_text(field.type)]
        image = _choose(self.image_column, images, schema, f"{name}: image_column")
        label = _choose(self.label_column, integers or texts, schema, f"{name}: label_column", also=texts)
        return image, label


def open_parquet(source: Any) -> pq.ParquetFile:
    """A Parquet file, from a path or a seekable file.

    Raises:
        DataError: it is none, or is cut short.
    """
    try:
        local = isinstance(source, Path)
        return pq.ParquetFile(source, memory_map=local, buffer_size=0 if local else _BUFFER)
    except (pa.ArrowInvalid, OSError) as error:
        name = source.name if isinstance(source, Path) else "the file"
        msg = f"{name} is no complete Parquet file: {error}"
        raise DataError(msg) from error


def class_names(schema: pa.Schema, label: str) -> tuple[str, ...] | None:
    """Class names in a schema's metadata: ``class_names`` (commas or JSON), or Hugging Face's features."""
    metadata = schema.metadata or {}
    if b"class_names" in metadata:
        text = metadata[b"class_names"].decode()
        names = json.loads(text) if text.startswith("[") else text.split(",")
        return tuple(str(name) for name in names)
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        names = features[label]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return tuple(str(name) for name in names)


def _tables(files: Sequence[str]) -> tuple[str, ...]:
    tables = tuple(sorted(name for name in files if name.endswith(".parquet")))
    if not tables:
        msg = "no Parquet files: expected names that end with .parquet"
        raise DataError(msg)
    return tables


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        position = kind.get_field_index("bytes")
        return position >= 0 and _is_binary(kind.field(position).type)
    return _is_binary(kind)


def _choose(given: str | None, fitting: list[str], schema: pa.Schema, what: str, also: Sequence[str] = ()) -> str:
    """The column that was named, or the only one that fits."""
    if given is None:
        if len(fitting) == 1:
            return fitting[0]
        msg = f"{what} must be given: {len(fitting)} columns fit ({', '.join(fitting)}) of {', '.join(schema.names)}"
        raise DataError(msg)
    if given not in fitting and given not in also:
        state = "is of another type" if given in schema.names else "does not exist"
        msg = f"{what} {given!r} {state}; columns that fit: {', '.join([*fitting, *also]) or 'none'}"
        raise DataError(msg)
    return given


def _label_column(file: pq.ParquetFile, label: str, name: str) -> pa.ChunkedArray:
    """The labels of one file; none may be missing."""
    try:
        column = file.read(columns=[label])[label]
    except (pa.ArrowInvalid, OSError) as error:
        msg = f"{name} cannot be read: {error}"
        raise DataError(msg) from error
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        msg = f"{name} row {row}: the label {label!r} is missing"
        raise DataError(msg)
    return column


def _encode(values: list[pa.ChunkedArray], names: tuple[str, ...] | None) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Labels as positions in the class names."""
    if not pa.types.is_integer(values[0].type):
        texts = [text for part in values for text in part.to_pylist()]
        classes = names or tuple(sorted(set(texts)))
        position = {name: index for index, name in enumerate(classes)}
        unknown = sorted(set(texts) - set(position))
        if unknown:
            msg = f"label {unknown[0]!r} is not among the class names {', '.join(classes)}"
            raise DataError(msg)
        return np.array([position[text] for text in texts], dtype=np.int64), classes
    label_N = np.concatenate([part.to_numpy().astype(np.int64) for part in values])
    return label_N, names or tuple(str(number) for number in range(int(label_N.max(initial=-1)) + 1))


def _cells(file: pq.ParquetFile, column: str, wanted: NDArray[np.int64]) -> Iterator[tuple[int, bytes | None]]:
    """(row, bytes) at the ``wanted`` rows; row groups without any are skipped."""
    first, position = 0, 0
    for group in range(file.num_row_groups):
        last = first + file.metadata.row_group(group).num_rows
        stop = int(np.searchsorted(wanted, last))
        if stop > position:
            for row, cell in _group_cells(file, group, column, wanted[position:stop] - first):
                yield first + row, cell
        first, position = last, stop


def _group_cells(
    file: pq.ParquetFile, group: int, column: str, rows: NDArray[np.int64]
) -> Iterator[tuple[int, bytes | None]]:
    """(row, bytes) at ``rows`` of one row group, read in small batches so that a large group stays on disk."""
    start, position = 0, 0
    for batch in file.iter_batches(batch_size=_BATCH_ROWS, row_groups=[group], columns=[column]):
        stop = int(np.searchsorted(rows, start + len(batch)))
        cells = _bytes_of(batch.column(0))
        for row in rows[position:stop].tolist():
            yield row, cells[row - start].as_py()
        start, position = start + len(batch), stop
        if position == len(rows):
            return


def _bytes_of(column: pa.Array) -> pa.Array:
    """The encoded images of a column, which may be a struct around them."""
    return column.field("bytes") if pa.types.is_struct(column.type) else column


def _image(value: bytes | None, name: str, row: int) -> bytes:
    if value is None:
        msg = f"{name} row {row} holds no image bytes (a path alone is not followed): store the bytes in the table"
        raise DataError(msg)
    return value
