"""Class names: none empty or there twice, those that look alike told, and numbers matched by what they say."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eyas.data
from eyas.data.class_names import called_by_numbers, check_names, class_of_number, require_numbers, warn_of_lookalikes
from eyas.errors import DataError
from tests.support.image_sources import make_images, png

IMAGES = make_images(480)


def write_source(root: Path, form: str, start: int, names: list[str]) -> None:
    """240 images from ``start``, whose class is their position modulo ``len(names)``."""
    root.mkdir()
    places = range(start, start + 240)
    if form == "folders":
        for place in places:
            (root / names[place % len(names)]).mkdir(exist_ok=True)
            (root / names[place % len(names)] / f"{place}.png").write_bytes(png(IMAGES[place]))
        return
    labels = [place % len(names) if form != "texts" else names[place % len(names)] for place in places]
    table = pa.table({"image": [png(IMAGES[place]) for place in places], "label": labels})
    names_of = {"class_names": json.dumps(names)} if form == "listed" else {}
    pq.write_table(table.replace_schema_metadata(names_of), root / "a.parquet")


NUMBERS = [str(number) for number in range(12)]


@pytest.mark.parametrize("named", ["folders", "texts", "listed"])
@pytest.mark.parametrize("named_first", [True, False])
def test_numbers_are_matched_with_classes_that_are_called_by_them(
    fetched: Callable[..., Path], tmp_path: Path, named: str, named_first: bool
) -> None:
    forms = (named, "numbers") if named_first else ("numbers", named)
    for part, form, start in zip(("train", "test"), forms, (0, 240), strict=True):
        write_source(tmp_path / part, form, start, NUMBERS)
    data = eyas.data.open_dataset(fetched(tmp_path / "train", tmp_path / "test"))
    expected = {image.tobytes(): str(place % 12) for place, image in enumerate(IMAGES)}
    for split in data.splits.values():
        for pixels, label in zip(split.images().numpy(), split.labels.tolist(), strict=True):
            assert data.class_names[label] == expected[pixels.transpose(1, 2, 0).tobytes()]


@pytest.mark.parametrize("form", ["folders", "texts"])
@pytest.mark.parametrize("names", [["ant", "bee", "cat"], ["1", "2", "3"], ["zero", "one", "two"]])
@pytest.mark.parametrize("named_first", [True, False])
def test_numbers_beside_sorted_names_are_refused(
    fetched: Callable[..., Path], tmp_path: Path, form: str, names: list[str], named_first: bool
) -> None:
    forms = (form, "numbers") if named_first else ("numbers", form)
    for part, kind, start in zip(("train", "test"), forms, (0, 240), strict=True):
        write_source(tmp_path / part, kind, start, names)
    with pytest.raises(DataError, match="numbers its classes and the other partition names them .* name them alike"):
        fetched(tmp_path / "train", tmp_path / "test")


def test_numbers_beside_names_that_are_listed_by_their_numbers_are_taken(
    fetched: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for part, form, start in (("train", "listed", 0), ("test", "numbers", 240)):
        write_source(tmp_path / part, form, start, ["cat", "ant", "bee"])
    assert eyas.data.open_dataset(fetched(tmp_path / "train", tmp_path / "test")).class_names == ("cat", "ant", "bee")
    assert "test numbers its classes: 0, 1, ... are taken for cat, ant, bee" in caplog.text


def test_a_list_of_numbers_in_another_order_is_refused() -> None:
    require_numbers(["0", "1", "2"], "test", in_own_order=True)
    with pytest.raises(DataError, match="name them alike"):
        require_numbers(["0", "2", "1"], "test", in_own_order=True)


@given(st.permutations(range(13)), st.integers(0, 2))
def test_a_number_is_the_class_that_is_called_so(order: list[int], zeros: int) -> None:
    classes = [f"{number:0{zeros + 1}}" for number in order]
    assert called_by_numbers(classes)
    assert [int(classes[position]) for position in class_of_number(classes)] == list(range(13))


@pytest.mark.parametrize("classes", [["1", "2"], ["0", "2"], ["0", "0"], ["a", "0"], ["0", "-1"]])
def test_other_names_are_counted(classes: list[str]) -> None:
    assert not called_by_numbers(classes)
    assert class_of_number(classes) == [0, 1]


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (["", "a"], "train has labels or class names that are empty"),
        (["a", " "], "train has labels or class names that are empty"),
        (["a", "b", "a", "a"], "train lists the class name 'a' 3 times"),
    ],
)
def test_what_is_no_name_of_one_class_is_refused(classes: list[str], words: str) -> None:
    with pytest.raises(DataError, match=words):
        check_names(classes, "train")


@pytest.mark.parametrize("form", ["texts", "listed"])
@pytest.mark.parametrize(("name", "words"), [("", "are empty"), ("ant", "'ant' 2 times")])
def test_they_are_refused_in_a_table(
    fetched: Callable[..., Path], tmp_path: Path, form: str, name: str, words: str
) -> None:
    write_source(tmp_path / "train", form, 0, ["ant", name, "cat"])
    if form == "texts" and name:  # the same text is the same class
        assert eyas.data.open_dataset(fetched(tmp_path / "train")).num_classes == 2
        return
    with pytest.raises(DataError, match=words):
        fetched(tmp_path / "train")


def test_names_that_look_alike_are_told(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_lookalikes(["cat", "Cat", "dog ", " dog", "big  cat", "big cat", "catt"])
    assert [record.getMessage() for record in caplog.records] == [
        f"{one!r} and {other!r} differ in case or blanks alone, and are classes of their own"
        for one, other in (("cat", "Cat"), ("dog ", " dog"), ("big  cat", "big cat"))
    ]
