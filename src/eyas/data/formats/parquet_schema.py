"""What a Parquet file's schema says: its image column, its label column, its class names."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eyas.errors import DataError

_BUFFER = 8 * 2**20  # bytes of a remote column at a time


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


def choose_columns(
    schema: pa.Schema, file: str, *, image_column: str | None, label_column: str | None
) -> tuple[str, str]:
    """Names of the image and the label column of ``file``.

    Raises:
        DataError: a named one does not fit, or several do and none is named.
    """
    images = [field.name for field in schema if _holds_images(field.type)]
    integers = [field.name for field in schema if pa.types.is_integer(field.type)]
    texts = [field.name for field in schema if _is_text(field.type)]
    image = _choose(image_column, images, schema, f"{file}: `image_column`")
    label = _choose(label_column, integers or texts, schema, f"{file}: `label_column`", also=texts)
    return image, label


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


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        position = kind.get_field_index("bytes")
        return position >= 0 and _is_binary(kind.field(position).type)
    return _is_binary(kind)


def _choose(name: str | None, fitting: list[str], schema: pa.Schema, what: str, also: Sequence[str] = ()) -> str:
    """The column that was named, or the only one that fits."""
    if name is None:
        if len(fitting) == 1:
            return fitting[0]
        msg = f"{what} must be given: {len(fitting)} columns fit ({', '.join(fitting)}) of {', '.join(schema.names)}"
        raise DataError(msg)
    if name not in fitting and name not in also:
        state = "is of another type" if name in schema.names else "does not exist"
        msg = f"{what} {name!r} {state}; columns that fit: {', '.join([*fitting, *also]) or 'none'}"
        raise DataError(msg)
    return name
