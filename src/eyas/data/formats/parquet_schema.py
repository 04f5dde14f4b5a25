"""What a Parquet file's schema says: its image column, its label column, its class names."""

import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from eyas.errors import DataError, one_line
from eyas.storage.json_text import parse_json

# What pyarrow raises for bytes that are no Parquet; also of lengths that it takes for memory, or for text.
_DAMAGE = (pa.ArrowException, ValueError, TypeError, KeyError, IndexError, OverflowError, MemoryError, EOFError)
_BUFFER = 8 * 2**20  # bytes of a remote column at a time
_LABEL_NAMES = frozenset({"label", "labels", "class", "class_label", "target", "category"})
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")
LabelKind = Literal["number", "text", "truth"]


@contextmanager
def damage_of(name: str, state: str = "cannot be read") -> Iterator[None]:
    """What pyarrow says of a damaged file, as an error that names it and its state.

    Raises:
        DataError: whatever went wrong in the block.
    """
    try:
        yield
    except DataError:
        raise
    except (*_DAMAGE, OSError) as error:
        msg = f"{name} {state}: {one_line(error)}"
        raise DataError(msg) from error


def open_parquet(source: Any, name: str, *, dictionary: str | None = None) -> pq.ParquetFile:
    """A Parquet file, from a path or a seekable file; ``name`` says which in errors, as below.

    Raises:
        DataError: it is none, or is cut short.
    """
    local = isinstance(source, Path)
    with damage_of(name, "is no complete Parquet file"):
        columns = [dictionary] if dictionary else None
        file = pq.ParquetFile(source, memory_map=local, buffer_size=0 if local else _BUFFER, read_dictionary=columns)
        _ = file.schema_arrow  # the schema of a damaged file may be none, which is told only when it is asked for
    return file


def choose_columns(
    schema: pa.Schema, file: str, *, image_column: str | None, label_column: str | None
) -> tuple[str, str]:
    """Names of the image and the label column of ``file``.

    Labels are the column that is named, the only one called ``label`` or the like (case aside), or the only one that
    could hold them; no type is preferred.

    Raises:
        DataError: a named one does not fit, or several do and none is named.
    """
    columns = [field for field in schema if not _PANDAS_INDEX.fullmatch(field.name)]
    images = [field.name for field in columns if _holds_images(field.type)]
    labels = [field.name for field in columns if label_kind(field.type)]
    called = [field.name for field in columns if field.name.casefold() in _LABEL_NAMES]
    image = _choose(image_column, images, schema, f"{file}: `image_column`")
    if label_column is None and len(called) == 1:
        label_column = called[0]
    return image, _choose(label_column, labels, schema, f"{file}: `label_column`")


def label_kind(kind: pa.DataType) -> LabelKind | None:
    """What labels of a column's type are; None where it can hold none."""
    if pa.types.is_dictionary(kind):
        return label_kind(kind.value_type)
    if pa.types.is_integer(kind):
        return "number"
    if pa.types.is_boolean(kind):
        return "truth"
    return "text" if _is_text(kind) else None


def normalised(name: Any) -> str:
    """A class name in the one form (NFC) in which equal-looking names are equal."""
    return unicodedata.normalize("NFC", str(name))


def class_names(schema: pa.Schema, label: str) -> tuple[str, ...] | None:
    """Class names in a schema's metadata: ``class_names`` (commas or JSON), or Hugging Face's features.

    Raises:
        DataError: ``class_names`` is no list.
    """
    metadata = schema.metadata or {}
    if b"class_names" in metadata:
        text = metadata[b"class_names"]
        try:
            names = parse_json(text) if text.startswith(b"[") else text.decode().split(",")
        except ValueError as error:
            msg = f"the schema's class_names are no list of names: {error}"
            raise DataError(msg) from error
    else:
        try:
            names = parse_json(metadata[b"huggingface"])["info"]["features"][label]["names"]
        except (KeyError, TypeError, ValueError, IndexError):
            return None
    return tuple(normalised(name) for name in names) if isinstance(names, list) else None


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        position = kind.get_field_index("bytes")
        return position >= 0 and _is_binary(kind.field(position).type)
    return _is_binary(kind)


def _choose(name: str | None, fitting: list[str], schema: pa.Schema, what: str) -> str:
    """The column that was named, or the only one that fits."""
    if name is None:
        if len(fitting) == 1:
            return fitting[0]
        msg = f"{what} must be given: {len(fitting)} columns fit ({', '.join(fitting)}) of {', '.join(schema.names)}"
        raise DataError(msg)
    if name not in fitting:
        state = f"is of another type ({schema.field(name).type})" if name in schema.names else "does not exist"
        msg = f"{what} {name!r} {state}; columns that fit: {', '.join(fitting) or 'none'}"
        raise DataError(msg)
    return name
