"""Columns of a Parquet file that part its rows (``split``, ``is_test``, ``fold``): they are not used, which is said."""

import logging
from collections.abc import Mapping, Set

import pyarrow as pa
import pyarrow.parquet as pq

from eyas.data.formats.parquet_schema import damage_of, label_kind

_LOG = logging.getLogger(__name__)
_NAMES = frozenset(
    {
        *("split", "datasplit", "subset", "partition", "set", "fold", "kfold", "traintest", "trainvaltest", "usage"),
        *("istest", "istrain", "istraining", "isval", "isvalid", "isvalidation", "test", "train"),
    }
)
_SHOWN = 8


def part_columns(schema: pa.Schema, label: str) -> list[str]:
    """The columns, that of the labels aside, whose name says that they part the rows."""
    named = [field for field in schema if field.name.casefold().replace("_", "") in _NAMES and field.name != label]
    return [field.name for field in named if label_kind(field.type)]


def distinct_values(file: pq.ParquetFile, column: str, name: str) -> set[str]:
    """Some of the values of a column; ``name`` says of which file in errors.

    Raises:
        DataError: the file is damaged.
    """
    with damage_of(name):
        values = file.read(columns=[column])[column].unique().slice(0, _SHOWN)
        return set(map(str, values.to_pylist()))


def warn_of_parts(parts: Mapping[str, Set[str]], source: str) -> None:
    """Say once of each column that it is not used, with its values where they are known."""
    for column, values in parts.items():
        held = f" ({', '.join(sorted(values)[:_SHOWN])})" if values else ""
        _LOG.warning(
            "%s: the column %r%s is not used, all rows count alike: rows for the test belong in a table of their own, "
            "called test or given as a test set",
            *(source, column, held),
        )
