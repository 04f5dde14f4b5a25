"""Images of the field of a range of dates: by the date of their file, or by a column of Parquet files."""

import logging
from datetime import UTC, date, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from eyas.data.date_range import DateRange, utc
from eyas.data.formats import Listing
from eyas.data.formats.parquet_schema import damage_of, open_parquet
from eyas.data.sources import BUILTIN
from eyas.errors import DataError
from eyas.storage import Store, redact

log = logging.getLogger(__name__)
_INDEX = frozenset({".csv", ".json", ".jsonl", ".tsv", ".txt", ".xml", ".yaml"})
"""Files that say something of images and hold none: their date says nothing of the images'."""


def names_within(dates: DateRange, store: Store, address: str) -> set[str]:
    """Names of the files at an address whose date is in the range, and of those that hold no images.

    Raises:
        DataError: no date there is, or none can be read; with the earliest and the latest.
    """
    entries = [] if address.startswith(BUILTIN) else list(store.entries(address))
    dated = {
        entry.name: datetime.fromtimestamp(entry.modified, UTC)
        for entry in entries
        if entry.modified is not None and PurePosixPath(entry.name).suffix.lower() not in _INDEX
    }
    dates.require_some(dated.values(), redact(address))
    return {entry.name for entry in entries if entry.name not in dated or dated[entry.name] in dates}


def files_within(dates: DateRange, files: list[Path], where: object) -> list[Path]:
    """The files whose date is in the range.

    Raises:
        DataError: none is; with the earliest and the latest.
    """
    if not dates:
        return files
    changed = {file: datetime.fromtimestamp(file.stat().st_mtime, UTC) for file in files}
    dates.require_some(changed.values(), where)
    return [file for file in files if changed[file] in dates]


def rows_within(dates: DateRange, column: str, listing: Listing, folder: Path) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Positions in ``listing`` of the rows whose date, in a column of their Parquet file, is in the range.

    Raises:
        DataError: there is no such column, it holds no dates, or none is in the range.
    """
    by_file = [_dates_in(folder / name, name, column) for name in listing.files]
    moments = [by_file[at][row] for at, row in zip(listing.file_indices, listing.rows, strict=True)]
    readable = [moment for moment in moments if moment is not None]
    if len(readable) < len(moments):
        missing = len(moments) - len(readable)
        log.warning("%d of %d images are left out: %s says no date of them", missing, len(moments), column)
    dates.require_some(readable, f"{folder.name}, column {column}")
    return np.flatnonzero([moment is not None and moment in dates for moment in moments])


def _dates_in(path: Path, name: str, column: str) -> list[datetime | None]:
    if path.suffix != ".parquet":
        msg = f"{name} is no Parquet file: adapt.date_column names a column of such; leave it out"
        raise DataError(msg)
    file = open_parquet(path, name)
    if column not in file.schema_arrow.names:
        msg = f"{name} has no column {column} (adapt.date_column), only {', '.join(file.schema_arrow.names)}"
        raise DataError(msg)
    kind = file.schema_arrow.field(column).type
    if not (pa.types.is_temporal(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        msg = f"{name}: column {column} (adapt.date_column) holds {kind}: times, dates or ISO text are expected"
        raise DataError(msg)
    with damage_of(name):
        values = file.read(columns=[column])[column]
        if pa.types.is_timestamp(kind):
            values = values.cast(pa.timestamp("us", tz=kind.tz), safe=False)
        return [_moment(value) for value in values.to_pylist()]


def _moment(value: object) -> datetime | None:
    if isinstance(value, date):
        return utc(value)
    try:
        return utc(datetime.fromisoformat(value)) if isinstance(value, str) else None
    except ValueError:
        return None
