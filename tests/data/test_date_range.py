"""Dates as they are written, and what lies between two of them."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from eyas.config import parse_params
from eyas.data.date_range import DateRange, utc
from eyas.errors import DataError, ParameterError

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def day(number: int, hour: int = 0) -> datetime:
    return datetime(2026, 11, number, hour, tzinfo=UTC)


def test_since_is_in_the_range_and_until_is_not() -> None:
    dates = DateRange.of("2026-11-20", "2026-11-22")
    assert [moment in dates for moment in (day(19, 23), day(20), day(21, 23), day(22))] == [False, True, True, False]
    assert str(dates) == "since 2026-11-20 00:00 UTC until 2026-11-22 00:00 UTC"
    assert day(1) in DateRange()
    assert not DateRange()
    assert DateRange.of(None, "2026-11-22")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2026-11-20", day(20)),
        ("2026-11-20T06:30", datetime(2026, 11, 20, 6, 30, tzinfo=UTC)),
        ("2026-11-20T01:00+03:00", day(19, 22)),
        ("2026-11-20 05:00Z", day(20, 5)),
        ("7d", NOW - timedelta(days=7)),
        ("12h", day(27)),
    ],
)
def test_dates_are_utc_unless_they_say_an_offset_and_ages_count_from_now(written: str, meant: datetime) -> None:
    assert DateRange.of(written, None, NOW).since == meant


def test_a_time_of_any_zone_is_compared_in_utc() -> None:
    assert utc(date(2026, 11, 20)) == day(20)
    assert utc(datetime(2026, 11, 20, 2, tzinfo=timezone(timedelta(hours=3)))) == day(19, 23)


@pytest.mark.parametrize("written", ["yesterday", "2026-13-01", "7", "d", "7w", ""])
def test_what_is_no_date_is_refused_with_what_is(written: str) -> None:
    with pytest.raises(ParameterError, match=r"is no date: give a day \(2026-11-20\).*an age \(7d, 12h\)"):
        DateRange.of(written, None)


def test_a_range_without_anything_between_is_refused() -> None:
    for since in ("2026-11-22", "2026-11-23"):
        with pytest.raises(ParameterError, match="is not before until 2026-11-22, which is left out itself"):
            DateRange.of(since, "2026-11-22")


def test_an_empty_range_tells_the_earliest_and_the_latest() -> None:
    dates = DateRange.of("2026-11-20", None)
    with pytest.raises(DataError, match=r"camera/: none of 2 dates is since 2026-11-20 00:00 UTC: the earliest is of "
                       r"2026-11-01 00:00 UTC, the latest of 2026-11-05 04:00 UTC"):  # fmt: skip
        dates.require_some([day(5, 4), day(1)], "camera/")
    with pytest.raises(DataError, match="no image has a date that can be read.*name a folder, an s3:// prefix, or"):
        dates.require_some([], "https://a/b.png")


def test_parameters_take_dates_as_yaml_reads_them_and_refuse_others() -> None:
    params = parse_params({"adapt": {"since": date(2026, 11, 20), "until": datetime(2026, 11, 21, 6)}})
    assert (params.adapt.since, params.adapt.until) == ("2026-11-20", "2026-11-21T06:00:00")
    assert day(21, 5) in params.adapt.dates
    for wrong, told in (
        ({"since": "soon"}, "'soon' is no date"),
        ({"since": "1d", "until": "2d"}, "since 1d is not before until 2d"),
        ({"date_column": "taken"}, "neither since nor until is set"),
    ):
        with pytest.raises(ParameterError, match=told):
            parse_params({"adapt": wrong})
