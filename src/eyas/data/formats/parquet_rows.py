"""Images and labels in the rows of a Parquet file: chosen rows, or all in passing."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from eyas.data.formats.class_numbers import numbered_classes
from eyas.data.formats.parquet_schema import damage_of, label_kind, normalised
from eyas.data.limits import DEFAULT_LIMITS, Limits
from eyas.errors import DataError

_BATCH_ROWS, _BATCH_BYTES = 256, 256 * 2**20


def rows_at_once(sizes: Sequence[int]) -> int:
    """How many rows are read at once: no more than fit, were each as large as the largest of these columns."""
    return min(max(_BATCH_BYTES // max([1, *sizes]), 1), _BATCH_ROWS)


def read_labels(file: pq.ParquetFile, column: str, name: str) -> pa.ChunkedArray:
    """All labels; ``name`` says of which file in errors, as below.

    Text that a file opened with ``dictionary=column`` holds stays a dictionary: each once, however often it stands.

    Raises:
        DataError: the file is damaged, or a label is missing.
    """
    with damage_of(name):
        labels = file.read(columns=[column])[column]
        labels.validate(full=True)
        if pa.types.is_dictionary(labels.type) and label_kind(labels.type) != "text":
            labels = labels.cast(labels.type.value_type)
    if labels.null_count:
        raise _missing_label(column, name, labels.is_null().to_pylist().index(True))
    return labels


def read_images(
    file: pq.ParquetFile, column: str, rows: NDArray[np.int64], name: str, batch_rows: int
) -> Iterator[bytes]:
    """The encoded images at ascending ``rows``, ``batch_rows`` in memory; row groups without any are skipped.

    Raises:
        DataError: the file is damaged, or an image is missing.
    """
    first, position = 0, 0
    with damage_of(name):
        for group in range(file.num_row_groups):
            last = first + file.metadata.row_group(group).num_rows
            stop = int(np.searchsorted(rows, last))
            if stop > position:
                for row, cell in _group_cells(file, group, column, rows[position:stop] - first, batch_rows):
                    yield _image(cell, name, first + row)
            first, position = last, stop


def stream_rows(
    file: pq.ParquetFile, image: str, label: str, name: str, batch_rows: int
) -> Iterator[tuple[bytes, Any]]:
    """(encoded image, label) of every row, in the columns of these names, ``batch_rows`` in memory.

    Raises:
        DataError: the file is damaged, or an image or a label is missing.
    """
    row = 0
    with damage_of(name):
        for batch in file.iter_batches(batch_size=batch_rows, columns=[image, label]):
            cells = _bytes_of(batch.column(image))
            for cell, value in zip(cells.to_pylist(), batch.column(label).to_pylist(), strict=True):
                if value is None:
                    raise _missing_label(label, name, row)
                yield _image(cell, name, row), value
                row += 1


def encode_labels(
    columns: list[pa.ChunkedArray], names: tuple[str, ...] | None, limits: Limits = DEFAULT_LIMITS
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Labels (N,) as positions in the class names, and these names; without ``names`` they come from the labels.

    Raises:
        DataError: a label is not among ``names``, or there are too many classes.
    """
    if label_kind(columns[0].type) == "number":
        numbers = [column.to_numpy() for column in columns]
        largest = max(int(part.max(initial=0)) for part in numbers)
        if largest >= 2**63:  # of unsigned 64 bits
            msg = f"label {largest} is no class number: they are counted from 0"
            raise DataError(msg)
        label_N = np.concatenate([part.astype(np.int64) for part in numbers])
        return label_N, names or numbered_classes(label_N, limits)
    values = [chunk.dictionary_encode() for column in columns for chunk in column.chunks]
    texts = [[text_of(value) for value in chunk.dictionary.to_pylist()] for chunk in values]
    indices = [chunk.indices.to_numpy() for chunk in values]
    used = {chunk[at] for chunk, index in zip(texts, indices, strict=True) for at in np.unique(index)}
    limits.check_classes(len(names or used), "the label column")
    classes = names or tuple(sorted(used))
    position = {name: index for index, name in enumerate(classes)}
    unknown = sorted(used - set(position))
    if unknown:
        msg = f"label {unknown[0]!r} is not among the class names {', '.join(classes)}"
        raise DataError(msg)
    lookup = [np.array([position.get(text, -1) for text in chunk], dtype=np.int64) for chunk in texts]
    return np.concatenate([numbers[at] for numbers, at in zip(lookup, indices, strict=True)]), classes


def text_of(label: str | bool) -> str:
    """The class name that a label stands for which is no number."""
    return str(label).lower() if isinstance(label, bool) else normalised(label)


def _group_cells(
    file: pq.ParquetFile, group: int, column: str, rows: NDArray[np.int64], batch_rows: int
) -> Iterator[tuple[int, bytes | None]]:
    """(row, bytes) at ``rows`` of one row group, read in small batches so that a large group stays on disk."""
    start, position = 0, 0
    for batch in file.iter_batches(batch_size=batch_rows, row_groups=[group], columns=[column]):
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


def _missing_label(column: str, name: str, row: int) -> DataError:
    return DataError(f"{name} row {row}: the label {column!r} is missing")
