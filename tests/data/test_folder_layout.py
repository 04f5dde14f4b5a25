"""Folder names as people write them: parts, classes, and what is neither."""

import json
import logging

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import eyas.data
from eyas.data.formats.folder_layout import read_layout
from eyas.data.left_out import is_hidden
from eyas.data.part_names import read_part_name, use_of_file
from eyas.errors import DataError
from tests.data.conftest import LABELS
from tests.data.reading import listed
from tests.support.image_sources import CLASSES, make_images, write_folder

SPELLINGS = {
    "train": ["train", "TRAIN", "Training", "train2017", "train_images", "images-train", "TrainSet", "train_val"],
    "validation": ["val", "valid", "Validation", "val2017", "dev", "valid_images"],
    "test": ["test", "Testing", "TEST", "test1", "test_set", "testset"],
}
PARTS = [(use, name) for use, names in SPELLINGS.items() for name in names]


@pytest.mark.parametrize(("use", "name"), PARTS)
def test_parts_are_known_as_people_write_them(use, name) -> None:
    part = read_part_name(name)
    assert part is not None
    assert (part.use, part.rest) == (use, ())


@pytest.mark.parametrize("name", ["tram", "contest", "ant", "devil", "interval", "trainer", "2017", "", "train_test"])
def test_other_words_are_no_parts(name) -> None:
    assert read_part_name(name) is None


@pytest.mark.parametrize(
    ("file", "use"),
    [
        ("test_batch", "test"),
        ("t10k-images-idx3-ubyte", "test"),
        ("data/validation-00000-of-00001.parquet", "validation"),
        ("data_batch_1", "train"),
        ("Testing/part-0.parquet", "test"),
        ("emnist-letters-test-images-idx3-ubyte.gz", "test"),
        ("test/train-0.parquet", "train"),
    ],
)
def test_a_table_tells_its_part_by_its_own_name_first(file, use) -> None:
    assert use_of_file(file) == use


LAYOUTS = {  # pattern of part and class -> level of the class
    "{part}/{cls}": 1,
    "set/{part}/{cls}": 2,
    "{part}/images/{cls}": 2,
    "images/{part}/{cls}/more": 2,
    "{cls}/{part}": 0,
    "seg_{part}/seg_{part}/{cls}": 2,
}


@pytest.mark.parametrize("pattern", LAYOUTS)
@pytest.mark.parametrize(("first", "second"), [("Training", "Testing"), ("TRAIN", "TEST"), ("train2017", "val2017")])
def test_parts_stand_anywhere_above_or_below_the_classes(pattern, first, second) -> None:
    images = [f"{pattern.format(part=part, cls=cls)}/0.png" for part in (first, second) for cls in ("cat", "dog")]
    layout = read_layout(images)
    assert layout.class_level == LAYOUTS[pattern]
    assert [use == "train" for use in layout.uses] == [True, True, False, False]


WORDS = st.text("abcdefghijklmnopqrstuvwxyz ", min_size=2, max_size=8).map(str.strip).filter(bool)


@given(
    classes=st.sets(WORDS, min_size=2, max_size=5),
    parts=st.tuples(st.sampled_from(SPELLINGS["train"]), st.sampled_from(SPELLINGS["test"] + SPELLINGS["validation"])),
    prefix=st.lists(WORDS, max_size=2),
)
def test_parts_are_never_classes(classes, parts, prefix) -> None:
    assume(not any(read_part_name(name) for name in classes))
    images = [f"{'/'.join([*prefix, part, name])}/0.png" for part in parts for name in sorted(classes)]
    layout = read_layout(images)
    assert layout.class_level == len(prefix) + 1
    assert [use == "train" for use in layout.uses] == [True] * len(classes) + [False] * len(classes)


@given(st.sets(WORDS, min_size=2, max_size=8))
def test_other_folders_are_the_classes(classes) -> None:
    assume(not any(read_part_name(name) for name in classes))
    layout = read_layout([f"{name}/0.png" for name in sorted(classes)])
    assert layout.class_level == 0
    assert set(layout.uses) == {"train"}


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (["train/a/1.png", "test/a/1.png", "unlabeled/a/1.png"], "look like parts"),
        (["seg_train/a/1.png", "seg_test/a/1.png", "seg_pred/a/1.png"], "look like parts"),
        (["train/a/1.png", "train/b/1.png", "rest/a/1.png", "rest/b/1.png"], "look like parts"),
        (["train/1.png", "test/2.png"], "lies in no class folder"),
        (["train/a/1.png", "train/b/1.png", "test/9.png"], r"test/9\.png lies in no class folder"),
    ],
)
def test_what_looks_like_parts_but_is_not_understood_is_asked(images, words) -> None:
    with pytest.raises(DataError, match=rf"{words}.*`train` and `test`.*`class_level`"):
        read_layout(images)


def test_the_class_level_can_be_said(tmp_path, fetched, images) -> None:
    assert read_layout(["train/1.png", "test/2.png"], 0).class_level == 0
    assert read_layout(["seg_train/a/1.png", "seg_test/a/1.png", "seg_pred/b/1.png"], 1).class_level == 1
    write_folder(tmp_path / "source", images, LABELS, prefix="set")
    for level, classes in ((0, ("set",)), (1, CLASSES)):
        member, listing = listed(tmp_path / "source", "folder", class_level=level)
        assert listing.classes == classes
        assert member.class_level == level
    with pytest.raises(DataError, match="lies beside the class folders"):
        listed(tmp_path / "source", "folder", class_level=2)


@pytest.mark.parametrize("name", [".ipynb_checkpoints", "@eaDir", "__MACOSX", ".git", "System Volume Information"])
def test_folders_of_systems_and_editors_are_no_classes(fetched, folder, name, caplog) -> None:
    for place in (folder / name, folder / "ant" / name):
        place.mkdir()
        (place / "0.png").write_bytes(b"no image")
    data = fetched(folder)
    dataset = eyas.data.open_dataset(data)
    assert dataset.class_names == CLASSES
    assert json.loads((data / "manifest.json").read_text())["left_out"] == {"hidden or system": 2}
    assert "2 hidden or system" in caplog.text
    assert is_hidden(f"ant/{name}/0.png")


def test_hidden_tables_are_not_read(tmp_path, images, fetched) -> None:
    from tests.support.image_sources import write_parquet

    write_parquet(tmp_path / "source" / "a.parquet", images, LABELS)
    (tmp_path / "source" / "._a.parquet").write_bytes(b"resource fork")
    assert eyas.data.open_dataset(fetched(tmp_path / "source")).class_names == CLASSES


def test_parts_are_told_with_their_counts(tmp_path, images, fetched, caplog) -> None:
    caplog.set_level(logging.INFO)
    write_folder(tmp_path / "source", images, LABELS, prefix="Training")
    write_folder(tmp_path / "source", make_images(30, seed=5), [n % 3 for n in range(30)], prefix="Testing")
    dataset = eyas.data.open_dataset(fetched(tmp_path / "source"))
    assert dataset.class_names == CLASSES
    assert len(dataset.split("test")) == 30
    assert "images are 120 train, 30 test" in caplog.text


@pytest.mark.parametrize("suffix", [".heic", ".avif", ""])
def test_a_class_whose_images_cannot_be_read_is_refused(fetched, folder, suffix) -> None:
    (folder / "dog").mkdir()
    for number in range(3):
        (folder / "dog" / f"{number}{suffix}").write_bytes(b"x")
    (folder / "ant" / "more.jfif").write_bytes(b"x")
    with pytest.raises(
        DataError, match=rf"class 'dog' .* 3 {suffix or 'no suffix'}\. Left out in all: 4 files .*1 \.jfif"
    ):
        fetched(folder)


def test_what_is_left_out_is_counted_by_kind(fetched, folder, caplog) -> None:
    (folder / "notes").mkdir()
    for name in ("notes/a.txt", "ant/b.TXT", "ant/c.heic"):
        (folder / name).write_bytes(b"x")
    left_out = json.loads((fetched(folder) / "manifest.json").read_text())["left_out"]
    assert left_out == {".txt": 2, ".heic": 1}
    assert "3 files are left out: 2 .txt, 1 .heic" in caplog.text


def test_nothing_left_out_is_not_written(fetched, folder) -> None:
    assert "left_out" not in json.loads((fetched(folder) / "manifest.json").read_text())


def test_equal_looking_names_are_one_class(tmp_path) -> None:
    for name in ("caf\u00e9", "cafe\u0301", "tea"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_bytes(b"x")
    assert listed(tmp_path)[1].classes == ("caf\u00e9", "tea")


BROKEN = {"ant/0000.png": b"", "bee/0001.png": b"no image", "cat/0002.png": b"\x89PNG\r\n\x1a\n"}


def test_all_broken_images_are_named_at_once(fetched, folder) -> None:
    for name, data in BROKEN.items():
        (folder / name).write_bytes(data)
    for allowed in (0, 2):
        with pytest.raises(DataError, match="3 images are broken.*`skip_broken`") as caught:
            fetched(folder, skip_broken=allowed)
        assert all(f"train/{name} does not decode" in str(caught.value) for name in BROKEN)


def test_so_many_broken_images_are_left_out(fetched, folder, caplog) -> None:
    for name, data in BROKEN.items():
        (folder / name).write_bytes(data)
    data = fetched(folder, skip_broken=3)
    dataset = eyas.data.open_dataset(data)
    assert sum(len(dataset.split(name)) for name in ("train", "calibration", "score", "test")) == len(LABELS) - 3
    assert dataset.manifest.left_out == {"broken": 3}
    assert all(name in caplog.text for name in BROKEN)


def test_broken_images_of_a_given_test_set_are_left_out_there(fetched, folder, tmp_path) -> None:
    write_folder(tmp_path / "held", make_images(30, seed=5), [n % 3 for n in range(30)])
    (tmp_path / "held" / "ant" / "0000.png").write_bytes(b"x")
    assert len(eyas.data.open_dataset(fetched(folder, tmp_path / "held", skip_broken=1)).split("test")) == 29


def test_a_class_of_broken_images_alone_is_refused(fetched, folder) -> None:
    for path in (folder / "bee").iterdir():
        path.write_bytes(b"x")
    with pytest.raises(DataError, match="class 'bee' has no image in split"):
        fetched(folder, skip_broken=1000)
