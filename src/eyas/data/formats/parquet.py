"""Parquet with a column of encoded images and a column of labels, as on the Hugging Face Hub."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from typing_extensions import override

from eyas.data.formats.base import Format, Listing
from eyas.data.formats.class_numbers import check_all_in_use, numbered_classes
from eyas.data.formats.parquet_parts import distinct_values, part_columns, warn_of_parts
from eyas.data.formats.parquet_rows import encode_labels, read_images, read_labels, rows_at_once, stream_rows, text_of
from eyas.data.formats.parquet_schema import choose_columns, class_names, damage_of, label_kind, open_parquet
from eyas.data.formats.parquet_sizes import column_sizes
from eyas.data.limits import DEFAULT_LIMITS, Limits
from eyas.data.payload import Payload
from eyas.data.remote_files import RemoteFiles
from eyas.data.smallest_hashes import SmallestHashes
from eyas.errors import DataError


class Parquet(Format):
    """Images as binary, or as a struct with a field ``bytes``; labels as integers, text or booleans.

    Columns of dictionaries (pandas' categoricals) count as what they hold.
    """

    kind: Literal["parquet"] = "parquet"
    priority: ClassVar[int] = 4
    expects: ClassVar[str] = "Parquet (*.parquet)"
    image_column: str | None = None
    """The column of images; without it the only one that holds images."""
    label_column: str | None = None
    """The column of labels; without it the one called ``label`` or the like (``class``, ``target``, ``category``), or
    the only one that could hold labels."""

    @override
    @classmethod
    def recognises(cls, files: Sequence[str]) -> bool:
        return any(name.endswith(".parquet") for name in files)

    @override
    def resolved(self, root: Path, files: Sequence[str]) -> "Parquet":
        first = _tables(files)[0]
        image, label = self._columns(open_parquet(root / first, first).schema_arrow, first)
        return Parquet(image_column=image, label_column=label)

    @override
    def list_images(self, root: Path, files: Sequence[str], limits: Limits = DEFAULT_LIMITS) -> Listing:
        tables = _tables(files)
        names: tuple[str, ...] | None = None
        columns: list[pa.ChunkedArray] = []
        parts: dict[str, set[str]] = {}
        for name in tables:
            file = open_parquet(root / name, name)
            image, label = self._columns(file.schema_arrow, name)
            unused = part_columns(file.schema_arrow, label)
            with (root / name).open("rb") as source:
                _check_size(source, file, (image, label, *unused), name, limits, walk=True)
            for column in unused:
                parts.setdefault(column, set()).update(distinct_values(file, column, name))
            names = _agreed(names, class_names(file.schema_arrow, label), name)
            is_text = label_kind(file.schema_arrow.field(label).type) == "text"
            file = open_parquet(root / name, name, dictionary=label) if is_text else file
            columns.append(read_labels(file, label, name))
            _check_same_kind(columns[0].type, columns[-1].type, name)
        label_N, classes = encode_labels(columns, names, limits)
        counts = [len(column) for column in columns]
        warn_of_parts(parts, root.name)
        return Listing(
            files=tables,
            file_indices=np.repeat(np.arange(len(tables), dtype=np.int64), counts),
            rows=np.concatenate([np.arange(count, dtype=np.int64) for count in counts]),
            labels=label_N,
            classes=classes,
            named=names is not None or label_kind(columns[0].type) != "number",
            in_own_order=names is not None,
        )

    @override
    def read(self, path: Path, rows: Sequence[int]) -> Iterator[Payload]:
        file = open_parquet(path, path.name)
        column, _ = self._columns(file.schema_arrow, path.name)
        with path.open("rb") as source, damage_of(path.name):
            batch = rows_at_once(list(column_sizes(source, [column], walk=False)))
        return read_images(file, column, np.asarray(rows, dtype=np.int64), path.name, batch)

    @override
    def write_subset(self, files: RemoteFiles, count: int, folder: Path, limits: Limits = DEFAULT_LIMITS) -> bool:
        smallest, names, labels = SmallestHashes(count), None, set[Any]()
        parts: dict[str, set[str]] = {}
        columns: list[tuple[str, str, pa.DataType]] = []
        for name in _tables(files.names):
            with files.open(name) as source:
                table = open_parquet(source, name)
                image, label = self._columns(table.schema_arrow, name)
                parts.update((column, set()) for column in part_columns(table.schema_arrow, label))
                sizes = _check_size(source, table, (image, label), name, limits, walk=False)
                names = _agreed(names, class_names(table.schema_arrow, label), name)
                columns.append((image, label, table.schema_arrow.field(label).type))
                _check_same_kind(columns[0][2], columns[-1][2], name)
                for data, value in stream_rows(table, image, label, name, rows_at_once(sizes)):
                    labels.add(value)
                    smallest.offer(data, (data, value))
        warn_of_parts(parts, folder.name)
        rows = smallest.items()
        image, label, _ = columns[0]
        cells = {image: pa.array([data for data, _ in rows], pa.binary()), label: [value for _, value in rows]}
        subset = pa.table(cells).replace_schema_metadata(
            {"class_names": json.dumps(names or _classes_of(labels, limits))}
        )
        folder.mkdir(parents=True)
        pq.write_table(subset, folder / "sample.parquet", compression="none")
        return True

    def _columns(self, schema: pa.Schema, name: str) -> tuple[str, str]:
        return choose_columns(schema, name, image_column=self.image_column, label_column=self.label_column)


def _check_size(
    source: BinaryIO, file: pq.ParquetFile, columns: Sequence[str], name: str, limits: Limits, *, walk: bool
) -> list[int]:
    """Refuse a file whose columns of these names hold more than is allowed, before they are read; returns their sizes.

    The headers of all pages are asked only with ``walk``: at a remote source each would be a request.
    """
    with damage_of(name):
        sizes = list(column_sizes(source, columns, walk=walk))
        packed, count = source.seek(0, os.SEEK_END), file.metadata.num_rows
    limits.check_images(count, sum(sizes), packed, name)
    return sizes


def _tables(files: Sequence[str]) -> tuple[str, ...]:
    tables = tuple(sorted(name for name in files if name.endswith(".parquet")))
    if not tables:
        msg = "no Parquet files: expected names that end with .parquet"
        raise DataError(msg)
    return tables


def _agreed(before: tuple[str, ...] | None, names: tuple[str, ...] | None, table: str) -> tuple[str, ...] | None:
    """The class names so far and those of one more table, which may list none, but no others."""
    if before is not None and names is not None and names != before:
        msg = f"{table} lists other class names than the tables before it: {names[:5]} ..., expected {before[:5]} ..."
        raise DataError(msg)
    return before or names


def _check_same_kind(first: pa.DataType, kind: pa.DataType, table: str) -> None:
    """Tables of one source hold labels of one kind."""
    if label_kind(kind) != label_kind(first):
        msg = f"{table} has labels of type {kind}, the tables before it have {first}: store them alike"
        raise DataError(msg)


def _classes_of(labels: set[Any], limits: Limits) -> tuple[str, ...]:
    """The classes of labels without names."""
    if any(isinstance(label, (str, bool)) for label in labels):
        return tuple(sorted({text_of(label) for label in labels}))
    classes = numbered_classes(np.array(list(labels), dtype=object), limits)
    check_all_in_use(labels)
    return classes
