"""Images without labels: what is read of them, and a test set that has labels beside them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eyas.data import open_dataset
from eyas.data.decoding import Preprocessing
from eyas.data.formats import detect
from eyas.data.make_dataset import DatasetOptions, make_dataset
from eyas.data.tasks import IGNORED, Task
from eyas.errors import DataError
from tests.support.image_sources import CLASSES, make_images, write_folder, write_parquet

COUNT = 90


def options(**task: object) -> DatasetOptions:
    return DatasetOptions(
        preprocessing=Preprocessing(3, 8),
        mean=(0.5, 0.5, 0.5),
        std=(0.2, 0.2, 0.2),
        calibration_fraction=0.2,
        score_fraction=0.2,
        test_fraction=0.2,
        task=Task.parse({"kind": "unlabelled", **task}),
    )


def write_flat(root: Path, count: int = COUNT, name: str = "{}.png") -> None:
    for number, pixels in enumerate(make_images(count)):
        path = root / name.format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


def write_test(root: Path) -> None:
    write_folder(root, make_images(12, seed=5), [0, 1, 2] * 4)


@pytest.mark.parametrize("name", ["{}.png", "a/{}.png", "test_{}.png", "train/{}/x.png"])
def test_every_image_is_read_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    write_flat(tmp_path / "files/train", name=name)
    numbers = make_dataset(tmp_path, options(), {"train": "here"})
    assert (numbers["images"], numbers["classes"]) == (COUNT, 0)
    data = open_dataset(tmp_path)
    assert (data.task.kind, data.class_names, data.num_classes) == ("unlabelled", (), 0)
    for split in ("train", "calibration", "score", "test"):
        assert len(data.split(split)) == data.manifest.images[split] > 0
        assert set(data.split(split).labels.tolist()) == {IGNORED}
        assert not data.task_of(split).labelled


def test_labels_that_are_there_are_not_read(tmp_path: Path) -> None:
    write_parquet(tmp_path / "files/train/a.parquet", make_images(COUNT), [0, 1, 2] * (COUNT // 3))
    make_dataset(tmp_path, options(), {"train": "here"})
    data = open_dataset(tmp_path)
    assert data.class_names == ()
    assert set(data.split("train").labels.tolist()) == {IGNORED}


def test_images_are_split_as_with_labels(tmp_path: Path) -> None:
    images, labels = make_images(COUNT), [0, 1, 2] * (COUNT // 3)
    write_folder(tmp_path / "with/files/train", images, labels)
    write_folder(tmp_path / "without/files/train", images, labels)
    labelled = DatasetOptions(**{**vars(options()), "task": Task.parse("classification")})
    make_dataset(tmp_path / "with", labelled, {"train": "here"})
    make_dataset(tmp_path / "without", options(), {"train": "here"})
    one, other = (open_dataset(tmp_path / name) for name in ("with", "without"))
    for split in ("train", "calibration", "score", "test"):
        assert np.array_equal(one.split(split).images().numpy(), other.split(split).images().numpy())


def test_a_test_set_may_have_labels_alone(tmp_path: Path) -> None:
    write_flat(tmp_path / "files/train")
    write_test(tmp_path / "files/test")
    make_dataset(tmp_path, options(labelled_test=True), {"train": "here", "test": "there"})
    data = open_dataset(tmp_path)
    assert data.class_names == CLASSES
    assert [data.task_of(split).measure for split in ("score", "test")] == ["agreement", "accuracy"]
    assert sorted(data.split("test").labels.tolist()) == sorted([0, 1, 2] * 4)
    assert set(data.split("score").labels.tolist()) == {IGNORED}


def test_class_names_give_the_order_and_may_be_more_than_the_test_shows(tmp_path: Path) -> None:
    write_flat(tmp_path / "files/train")
    write_test(tmp_path / "files/test")
    names = ["dog", "cat", "bee", "ant"]
    make_dataset(tmp_path, options(labelled_test=True, class_names=names), {"train": "here", "test": "there"})
    data = open_dataset(tmp_path)
    assert data.class_names == tuple(names)
    assert sorted(set(data.split("test").labels.tolist())) == [1, 2, 3]
    assert data.manifest.splits["test"] == {"dog": 0, "cat": 4, "bee": 4, "ant": 4}


def test_a_test_class_that_the_network_lacks_is_refused(tmp_path: Path) -> None:
    write_flat(tmp_path / "files/train")
    write_test(tmp_path / "files/test")
    with pytest.raises(DataError, match="class 'cat' that `class_names` lack: ant, bee"):
        make_dataset(tmp_path, options(labelled_test=True, class_names=["ant", "bee"]), {"train": "a", "test": "b"})


def test_a_split_without_an_image_is_told(tmp_path: Path) -> None:
    write_flat(tmp_path / "files/train", count=3)
    with pytest.raises(DataError, match="has none of the 3 images"):
        make_dataset(tmp_path, options(), {"train": "here"})


def test_a_flat_folder_where_labels_are_asked_for_says_what_could_be_done() -> None:
    with pytest.raises(DataError, match=r"no known format.*with `task` unlabelled they can be read"):
        detect(["a.png", "b.png"], "here")


def test_images_beside_class_folders_are_refused_with_a_way_out(tmp_path: Path) -> None:
    write_test(tmp_path / "files/train")
    (tmp_path / "files/train/stray.png").write_bytes(b"x")
    labelled = DatasetOptions(**{**vars(options()), "task": Task.parse("classification")})
    with pytest.raises(DataError, match=r"stray\.png lies beside the class folders; no label is read with `task`"):
        make_dataset(tmp_path, labelled, {"train": "here"})


def test_a_dense_networks_answers_take_the_place_of_labels(tmp_path: Path) -> None:
    write_flat(tmp_path / "files/train")
    make_dataset(tmp_path, options(), {"train": "here"})
    data = open_dataset(tmp_path)
    answers = data.split("score").labels.clone().fill_(2)
    answered = data.answered_by({"score": answers}, 4)
    assert answered.class_names == ("0", "1", "2", "3")
    assert answered.split("score").labels.equal(answers)
    assert set(answered.split("test").labels.tolist()) == {IGNORED}
    assert set(data.split("score").labels.tolist()) == {IGNORED}
