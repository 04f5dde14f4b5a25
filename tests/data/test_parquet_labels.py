"""Label columns as people have them: chosen by name or by being alone, of any type that holds classes."""

import json
import unicodedata

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eyas.data
from eyas.data.formats.class_numbers import check_all_in_use, numbered_classes
from eyas.data.formats.parquet_schema import choose_columns
from eyas.data.subset import fetch_subset
from eyas.errors import DataError
from eyas.storage import Store
from tests.data.conftest import LABELS
from tests.data.reading import listed
from tests.support.image_sources import make_images, png

COUNT = len(LABELS)


def write_table(root, name="a", **columns) -> None:
    root.mkdir(exist_ok=True)
    count = len(next(iter(columns.values())))
    images = [png(pixels) for pixels in make_images(count, seed=len(name))]
    pq.write_table(pa.table({"image": pa.array(images, pa.binary()), **columns}), root / f"{name}.parquet")


NUMBERS, TEXTS = [n % 3 for n in range(COUNT)], [("cat", "ant", "bee")[n % 3] for n in range(COUNT)]


@pytest.mark.parametrize(
    ("others", "chosen"),
    [
        ({"fold": NUMBERS, "label": TEXTS}, "label"),
        ({"fold": NUMBERS, "Class": TEXTS}, "Class"),
        ({"id": NUMBERS, "target": NUMBERS}, "target"),
        ({"diagnosis": TEXTS}, "diagnosis"),
        ({"diagnosis": TEXTS, "score": [0.5] * COUNT}, "diagnosis"),
        ({"diagnosis": TEXTS, "__index_level_0__": NUMBERS}, "diagnosis"),
    ],
)
def test_the_label_column_is_told_by_its_name_or_by_being_alone(tmp_path, fetched, others, chosen) -> None:
    write_table(tmp_path / "source", **others)
    manifest = json.loads((fetched(tmp_path / "source") / "manifest.json").read_text())
    assert manifest["formats"]["train"]["label_column"] == chosen


@pytest.mark.parametrize(
    "others",
    [
        {"diagnosis": TEXTS, "fold": NUMBERS},
        {"site": TEXTS, "diagnosis": TEXTS},
        {"label": NUMBERS, "class": TEXTS},
        {"age": NUMBERS, "sick": [True] * COUNT},
    ],
)
def test_several_that_could_be_it_are_asked_for(tmp_path, others) -> None:
    write_table(tmp_path, **others)
    with pytest.raises(DataError, match="`label_column` must be given: 2 columns fit"):
        listed(tmp_path)


TYPES = st.sampled_from([pa.int64(), pa.int8(), pa.string(), pa.bool_(), pa.dictionary(pa.int32(), pa.string())])


@given(st.dictionaries(st.text("abcxyz_", min_size=1, max_size=6), TYPES, min_size=2, max_size=4))
def test_no_type_is_preferred(columns) -> None:
    schema = pa.schema([("image", pa.binary()), *((f"x{name}", kind) for name, kind in columns.items())])
    with pytest.raises(DataError, match="must be given"):
        choose_columns(schema, "a", image_column=None, label_column=None)


@pytest.mark.parametrize("kind", [pa.float64(), pa.list_(pa.int64()), pa.timestamp("s")])
def test_a_label_column_of_another_type_is_refused_though_another_would_fit(tmp_path, kind) -> None:
    write_table(tmp_path, label=pa.array([None] * COUNT, kind), fold=NUMBERS)
    with pytest.raises(DataError, match=r"'label' is of another type \(.*columns that fit: fold"):
        listed(tmp_path)


LABEL_COLUMNS = {
    "categorical": (pa.array(TEXTS).dictionary_encode(), ("ant", "bee", "cat"), True),
    "categorical numbers": (pa.array(NUMBERS).dictionary_encode(), ("0", "1", "2"), False),
    "large text": (pa.array(TEXTS, pa.large_string()), ("ant", "bee", "cat"), True),
    "boolean": (pa.array([n % 3 == 0 for n in range(COUNT)]), ("false", "true"), True),
    "small numbers": (pa.array(NUMBERS, pa.uint8()), ("0", "1", "2"), False),
}


@pytest.mark.parametrize("name", LABEL_COLUMNS)
def test_labels_of_every_type_are_read_whole_and_in_passing(tmp_path, fetched, name) -> None:
    column, classes, named = LABEL_COLUMNS[name]
    write_table(tmp_path / "source", label=column)
    _, listing = listed(tmp_path / "source")
    assert (listing.classes, listing.named) == (classes, named)
    texts = [str(value).lower() for value in column.to_pylist()]
    assert [classes[label] for label in listing.labels.tolist()] == texts
    whole = eyas.data.open_dataset(fetched(tmp_path / "source", max_images=100))
    store = Store(state=tmp_path / "state")
    assert fetch_subset(str(tmp_path / "source"), tmp_path / "few", store, max_images=100, format="auto")
    few = eyas.data.open_dataset(fetched(tmp_path / "few", max_images=100))
    assert whole.digest == few.digest
    assert few.manifest.formats["train"]["label_column"] == "label"


def test_the_chosen_columns_stand_in_the_manifest_of_a_sample(tmp_path, fetched) -> None:
    write_table(tmp_path / "source", diagnosis=TEXTS)
    store = Store(state=tmp_path / "state")
    assert fetch_subset(str(tmp_path / "source"), tmp_path / "few", store, max_images=100, format="auto")
    manifest = eyas.data.open_dataset(fetched(tmp_path / "few")).manifest
    assert manifest.formats["train"]["label_column"] == "diagnosis"


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([1, 2, 3], "labels are 1 to 3, .* none has the label 0: subtract 1"),
        ([0, 2, 4], "labels are 0, 2, 4, .* none has the label 1, 3: number the classes without gaps"),
        ([0, 1, 255], "255 often marks images to ignore"),
        ([0, 1, -1], r"label -1; .* kept back"),
        ([0, 1, 2 * 10**8], "label 200000000 is no class number"),
        ([0, 0, 0], "all images are of one class, '0'"),
    ],
)
def test_numbers_that_are_no_classes_are_refused_by_what_was_seen(tmp_path, fetched, labels, words) -> None:
    write_table(tmp_path / "source", label=[labels[n % 3] for n in range(COUNT)])
    with pytest.raises(DataError, match=words):
        fetched(tmp_path / "source")


@pytest.mark.parametrize("labels", [[1, 2, 3], [0, 2, 4]])
def test_a_sample_in_passing_refuses_them_too(tmp_path, labels) -> None:
    write_table(tmp_path / "source", label=[labels[n % 3] for n in range(COUNT)])
    with pytest.raises(DataError, match="classes are counted from 0"):
        fetch_subset(str(tmp_path / "source"), tmp_path / "few", Store(state=tmp_path), max_images=9, format="auto")


@given(st.sets(st.integers(0, 40), min_size=1))
def test_numbers_are_classes_just_where_none_is_left_out(labels) -> None:
    if labels == set(range(len(labels))):
        check_all_in_use(labels)
        return
    with pytest.raises(DataError, match="classes are counted from 0"):
        check_all_in_use(labels)


def test_classes_are_counted_to_the_largest(tmp_path) -> None:
    import numpy as np

    assert numbered_classes(np.array([0, 2, 1])) == ("0", "1", "2")


MIXED = [
    ([0, 1], ["a", "b"]),
    (["a", "b"], [True, False]),
    ([0, 1], pa.array(["a", "b"]).dictionary_encode()),
]


@pytest.mark.parametrize(("first", "second"), MIXED)
def test_tables_with_labels_of_different_types_are_refused(tmp_path, first, second) -> None:
    write_table(tmp_path / "source", "a", label=first)
    write_table(tmp_path / "source", "b", label=second)
    words = r"b\.parquet has labels of type .*, the tables before it have"
    with pytest.raises(DataError, match=words):
        listed(tmp_path / "source")
    with pytest.raises(DataError, match=words):
        fetch_subset(str(tmp_path / "source"), tmp_path / "few", Store(state=tmp_path), max_images=2, format="auto")


def test_tables_that_store_the_same_labels_otherwise_agree(tmp_path) -> None:
    write_table(tmp_path, "a", label=["x", "y"])
    write_table(tmp_path, "b", label=pa.array(["y", "z"]).dictionary_encode())
    assert listed(tmp_path)[1].labels.tolist() == [0, 1, 1, 2]


@given(st.lists(st.text(st.characters(categories=["L", "M"]), min_size=1, max_size=4), min_size=1, max_size=6))
def test_equal_looking_labels_are_one_class(names) -> None:
    from eyas.data.formats.parquet_rows import encode_labels

    columns = [pa.chunked_array([[unicodedata.normalize(form, name) for name in names]]) for form in ("NFC", "NFD")]
    label_N, classes = encode_labels(columns, None)
    assert label_N[: len(names)].tolist() == label_N[len(names) :].tolist()
    assert len(classes) == len({unicodedata.normalize("NFC", name) for name in names})


def test_columns_that_part_the_rows_are_told_once_with_their_values(tmp_path, fetched, caplog) -> None:
    split = [("train", "test")[n % 4 == 0] for n in range(COUNT)]
    for name in ("a", "b"):
        write_table(
            tmp_path / name, label=NUMBERS, Split=split, is_test=[n % 4 == 0 for n in range(COUNT)], width=NUMBERS
        )
    (tmp_path / "b").rename(tmp_path / "a" / "b")
    listed(tmp_path / "a")
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert told[0].startswith(
        "a: the column 'Split' (test, train) is not used, all rows count alike: rows for the test"
    )
    assert told[1].startswith("a: the column 'is_test' (False, True) is not used")
    caplog.clear()
    store = Store(state=tmp_path / "state")
    assert fetch_subset(str(tmp_path / "a"), tmp_path / "few", store, max_images=9, format="auto")
    assert [record.getMessage() for record in caplog.records] == [
        f"few: the column {name!r} is not used, {told[0].partition('used, ')[2]}" for name in ("Split", "is_test")
    ]


def test_a_column_that_parts_the_rows_and_holds_the_labels_is_used(tmp_path, caplog) -> None:
    write_table(tmp_path, fold=NUMBERS)
    listed(tmp_path)
    assert not caplog.records


def test_a_label_of_64_bits_is_shown_as_it_is(tmp_path, fetched) -> None:
    write_table(tmp_path / "source", label=pa.array([2**63 + n % 3 for n in range(COUNT)], pa.uint64()))
    with pytest.raises(DataError, match=f"label {2**63 + 2} is no class number"):
        fetched(tmp_path / "source")
