"""Which of many images are taken, by date; all dates are UTC."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from eyas.errors import DataError, ParameterError

_AGE = re.compile(r"^(\d{1,5})([dh])$")
_EXPECTED = "give a day (2026-11-20), a time (2026-11-20T06:00+01:00; without an offset UTC), or an age (7d, 12h)"


@dataclass(frozen=True)
class DateRange:
    """From ``since``, which is in it, to ``until``, which is not; None is no limit."""

    since: datetime | None = None
    until: datetime | None = None

    @classmethod
    def of(cls, since: str | None, until: str | None, now: datetime | None = None) -> "DateRange":
        """The range between two dates as they are written; ages are counted back from ``now``.

        Raises:
            ParameterError: one is no date, or nothing lies between them.
        """
        now = now or datetime.now(UTC)
        between = cls(*(None if text is None else _moment(text, now) for text in (since, until)))
        if between.since and between.until and between.since >= between.until:
            msg = f"since {since} is not before until {until}, which is left out itself: nothing lies between them"
            raise ParameterError(msg)
        return between

    def __bool__(self) -> bool:
        return self != DateRange()

    def __contains__(self, moment: datetime) -> bool:
        return (self.since is None or self.since <= moment) and (self.until is None or moment < self.until)

    def __str__(self) -> str:
        ends = [f"{word} {_written(end)}" for word, end in (("since", self.since), ("until", self.until)) if end]
        return " ".join(ends)

    def require_some(self, moments: Iterable[datetime], where: object) -> None:
        """Refuse a range that holds none of the images there are.

        Raises:
            DataError: with the earliest and the latest.
        """
        there = sorted(moments)
        if not there:
            way = "name a folder, an s3:// prefix, or the adapt.date_column of Parquet files"
            msg = f"{where}: no image has a date that can be read, and those {self} are asked for: {way}"
            raise DataError(msg)
        if not any(moment in self for moment in there):
            ends = f"the earliest is of {_written(there[0])}, the latest of {_written(there[-1])}"
            msg = f"{where}: none of {len(there)} dates is {self}: {ends}"
            raise DataError(msg)


def _moment(text: str, now: datetime) -> datetime:
    age = _AGE.match(text)
    if age:
        count = int(age[1])
        return now - (timedelta(days=count) if age[2] == "d" else timedelta(hours=count))
    try:
        return utc(datetime.fromisoformat(text))
    except ValueError as error:
        msg = f"{text!r} is no date: {_EXPECTED}"
        raise ParameterError(msg) from error


def utc(moment: date) -> datetime:
    """A date or a time in UTC; without an offset it is one already."""
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _written(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
