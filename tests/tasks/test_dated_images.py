"""Images of a range of dates: by file on this machine and on S3, by a column of Parquet files."""

import os
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eyas.config import parse_params
from eyas.data.date_range import DateRange
from eyas.errors import DataError
from eyas.storage import Store
from eyas.storage.settings import StorageSettings
from tasks.field_images import FieldImages, read_field
from tasks.field_look import look_at_field
from tasks.watch import even_windows
from tests.support.peers import bucket_in, put_tree, s3_service, set_credentials
from tests.tasks.test_field_images import DECODE, grey, png


def read(
    place: Path | str, store: Store | None = None, labels: tuple[str, ...] | None = None, **adapt: Any
) -> FieldImages:
    return read_field(str(place), parse_params({"adapt": adapt}), DECODE, classes=labels, store=store or Store())


def shown(field: FieldImages) -> list[int]:
    return field.pixels[:, 0, 0, 0].tolist()


@pytest.fixture
def camera(tmp_path: Path) -> Path:
    """A picture of each day from the 1st to the 20th, in folders; the grey is the day."""
    for number in range(1, 21):
        file = tmp_path / f"camera/{number // 10}/{number:02d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(grey(number)))
        seconds = datetime(2026, 11, number, 12, tzinfo=UTC).timestamp()
        os.utime(file, (seconds, seconds))
    return tmp_path / "camera"


def test_of_a_folder_files_that_were_changed_in_the_range_are_taken_and_hashed(camera: Path) -> None:
    field = read(camera, since="2026-11-05", until="2026-11-08")
    assert shown(field) == [5, 6, 7]
    assert field.dates == "since 2026-11-05 00:00 UTC until 2026-11-08 00:00 UTC"
    assert read(camera, since="2026-11-19").digest != field.digest
    (camera / "1/19.png").write_bytes(png(grey(200)))  # now, outside of the range: the digest is of what was taken
    assert read(camera, since="2026-11-05", until="2026-11-08").digest == field.digest
    some = shown(read(camera, since="2026-11-05", until="2026-11-16", max_images=3))
    assert (len(some), set(some) < set(range(5, 16)), some) == (3, True, sorted(some))
    assert read(camera).dates == ""
    assert len(read(camera)) == 20


def test_an_offset_moves_the_range(camera: Path) -> None:
    assert shown(read(camera, since="2026-11-05T14:00+02:00", until="2026-11-06T13:59+02:00")) == [5]
    assert shown(read(camera, since="2026-11-05T14:01+02:00", until="2026-11-06T14:01+02:00")) == [6]


def test_a_range_without_an_image_tells_what_is_there(camera: Path) -> None:
    told = "none of 20 dates is since 2027-01-01 00:00 UTC: the earliest is of 2026-11-01 12:00 UTC, the latest of"
    with pytest.raises(DataError, match=f"{told} 2026-11-20 12:00 UTC"):
        read(camera, since="2027-01-01")
    with pytest.raises(DataError, match=told):
        look_at_field(str(camera), parse_params({"adapt": {"since": "2027-01-01"}}), camera, labelled=False)
    with pytest.raises(DataError, match=told):
        even_windows(camera, 8, DateRange.of("2027-01-01", None))
    look_at_field(str(camera), parse_params({"adapt": {"since": "2026-11-02"}}), camera, labelled=False)


def test_watch_looks_at_the_range_alone(camera: Path) -> None:
    (window,) = even_windows(camera, 8, DateRange.of("2026-11-05", "2026-11-14"))
    assert [file.stem for file in window] == [f"{number:02d}" for number in range(5, 14)]


def test_what_says_no_date_is_told(camera: Path) -> None:
    with pytest.raises(DataError, match="builtin:digits: no image has a date that can be read"):
        read("builtin:digits", since="7d")


@pytest.mark.parametrize("kind", ["timestamp", "zone", "date", "text"])
def test_of_parquet_a_column_says_the_date_of_each_image(tmp_path: Path, kind: str) -> None:
    days = [1, 2, None, 4, 5]
    moments = [number and datetime(2026, 11, number) for number in days]
    dates = {
        "timestamp": pa.array(moments, pa.timestamp("ns")),
        "zone": pa.array([one and one.replace(tzinfo=UTC) for one in moments], pa.timestamp("us", tz="Asia/Tokyo")),
        "date": pa.array([one and date(2026, 11, one) for one in days]),
        "text": ["2026-11-01", "2026-11-02T00:00:00Z", "no date", "2026-11-04T08:00+08:00", "2026-11-05"],
    }[kind]
    images = [{"bytes": png(grey(number or 3)), "path": None} for number in days]
    table = pa.table({"image": images, "label": [0, 1, 0, 1, 0], "taken": dates})
    pq.write_table(table, tmp_path / "field.parquet")
    field = read(tmp_path / "field.parquet", None, ("cat", "dog"), since="2026-11-02", date_column="taken")
    assert shown(field) == [2, 4, 5]
    assert field.labels is not None
    assert field.labels.tolist() == [1, 1, 0]


def test_an_image_whose_date_cannot_be_read_is_left_out_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = [{"bytes": png(grey(number)), "path": None} for number in (1, 2)]
    pq.write_table(pa.table({"image": images, "taken": ["2026-11-01", "soon"], "size": [1, 2], "label": [0, 1]}),
                   tmp_path / "field.parquet")  # fmt: skip
    assert shown(read(tmp_path, until="2026-12-01", date_column="taken")) == [1]
    assert "1 of 2 images are left out: taken says no date of them" in caplog.text
    with pytest.raises(DataError, match="column taken: none of 1 dates is since 2026-12-01"):
        read(tmp_path, since="2026-12-01", date_column="taken")
    with pytest.raises(DataError, match=r"has no column when \(adapt.date_column\), only image, taken, size, label"):
        read(tmp_path, since="2026-12-01", date_column="when")
    with pytest.raises(DataError, match=r"column size \(adapt.date_column\) holds int64: times, dates or ISO text"):
        read(tmp_path, since="2026-12-01", date_column="size")


def test_a_column_of_files_that_are_no_parquet_is_refused(camera: Path) -> None:
    with pytest.raises(DataError, match="is no Parquet file: adapt.date_column names a column of such"):
        read(camera, since="2026-11-02", date_column="taken")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, camera: Path, tmp_path: Path) -> Iterator[tuple[Store, str]]:
    with monkeypatch.context() as patch:
        set_credentials(patch.setenv)
        with s3_service() as url, bucket_in(url) as name:
            put_tree(url, name, "camera", camera)
            yield Store(StorageSettings(endpoint_url=url), tmp_path / "state"), f"s3://{name}/camera"


def test_of_a_prefix_of_s3_objects_that_were_uploaded_in_the_range_are_taken(bucket: tuple[Store, str]) -> None:
    store, address = bucket
    assert len(read(address, store, since="1h")) == 20
    names = sorted(entry.name for entry in store.entries(address))
    assert all(entry.modified and abs(entry.modified - datetime.now(UTC).timestamp()) < 3600
               for entry in store.entries(address))  # fmt: skip
    store.bring(address, (folder := Path(store._state) / "some"), names={names[3]})
    assert [file.name for file in folder.rglob("*.png")] == [Path(names[3]).name]
    with pytest.raises(DataError, match=r"none of 20 dates is until 2026-01-01 00:00 UTC: the earliest is of"):
        read(address, store, until="2026-01-01")
