"""Parquet: which columns, which classes, and what of a damaged table is said."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eyas.errors import DataError
from tests.data.reading import listed, read_all
from tests.support.image_sources import make_images, write_parquet

LABELS = [0, 1, 2] * 7


def test_a_table_without_class_names_counts_them(tmp_path) -> None:
    pq.write_table(pa.table({"image": [b"x"] * 3, "label": [0, 4, 2]}), tmp_path / "a.parquet")
    _, listing = listed(tmp_path)
    assert listing.classes == ("0", "1", "2", "3", "4")
    assert not listing.named


def test_columns_are_chosen_or_asked_for(tmp_path) -> None:
    table = pa.table({"image": [b"x"], "mask": [b"y"], "fine": [1], "coarse": [0]})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"`image_column` must be given: 2 columns fit \(image, mask\)"):
        listed(tmp_path)
    with pytest.raises(DataError, match="`label_column` must be given"):
        listed(tmp_path, "parquet", image_column="image")
    member, listing = listed(tmp_path, "parquet", image_column="mask", label_column="fine")
    assert listing.labels.tolist() == [1]
    assert list(member.read(tmp_path / "a.parquet", [0])) == [b"y"]
    with pytest.raises(DataError, match="`image_column` 'picture' does not exist"):
        listed(tmp_path, "parquet", image_column="picture")
    with pytest.raises(DataError, match="`image_column` 'fine' is of another type"):
        listed(tmp_path, "parquet", image_column="fine")


def test_shards_must_agree_on_class_names(tmp_path) -> None:
    for name, classes in (("a", "x,y"), ("b", "y,x")):
        table = pa.table({"image": [b"x"], "label": [0]}).replace_schema_metadata({"class_names": classes})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    with pytest.raises(DataError, match=r"b\.parquet lists other class names"):
        listed(tmp_path)


def test_missing_labels_and_images_are_named_by_row(tmp_path) -> None:
    pq.write_table(pa.table({"image": [b"x", b"y"], "label": [0, None]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet row 1: the label"):
        listed(tmp_path)
    cells = pa.array([{"bytes": b"x", "path": "p"}, {"bytes": None, "path": "q"}])
    pq.write_table(pa.table({"image": cells, "label": [0, 1]}), tmp_path / "a.parquet")
    member, _ = listed(tmp_path)
    with pytest.raises(DataError, match=r"a\.parquet row 1 holds no image bytes"):
        list(member.read(tmp_path / "a.parquet", [0, 1]))


@pytest.mark.parametrize("cut", [0, 3, 200, -1])
def test_a_truncated_table_is_refused(tmp_path, cut) -> None:
    write_parquet(tmp_path / "a.parquet", make_images(len(LABELS)), LABELS)
    data = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(data[:cut])
    with pytest.raises(DataError, match=r"a\.parquet is no complete Parquet file"):
        listed(tmp_path)


def test_pages_damaged_inside_a_table_are_refused(tmp_path) -> None:
    write_parquet(tmp_path / "a.parquet", make_images(len(LABELS)), LABELS)
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    data[4:60] = bytes(56)
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.parquet cannot be read"):
        read_all(tmp_path)
