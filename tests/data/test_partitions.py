"""Which images are the test set, and which classes train and test share."""

import hashlib

import pyarrow.parquet as pq
import pytest

import eyas.data
from eyas.errors import DataError
from tests.data.conftest import LABELS
from tests.support.image_sources import CLASSES, make_images, png, write_cifar, write_folder, write_idx_pair

SPLITS = ("train", "calibration", "score", "test")


def test_a_given_test_set_stays_as_it_is(fetched, folder, tmp_path) -> None:
    test = make_images(30, seed=5)
    write_folder(tmp_path / "held", test, [n % 3 for n in range(30)])
    dataset = eyas.data.open_dataset(fetched(folder, tmp_path / "held"))
    kept = {pixels.transpose(1, 2, 0).tobytes() for pixels in dataset.split("test").images().numpy()}
    assert kept == {pixels.tobytes() for pixels in test}
    assert sum(len(dataset.split(name)) for name in SPLITS[:3]) == len(LABELS)


def test_classes_of_train_and_test_are_joined_by_name(fetched, folder, tmp_path) -> None:
    """The test table numbers its classes otherwise."""
    import pyarrow as pa

    test = make_images(30, seed=5)
    table = pa.table({"image": [png(pixels) for pixels in test], "label": [n % 3 for n in range(30)]})
    (tmp_path / "held").mkdir()
    pq.write_table(table.replace_schema_metadata({"class_names": "cat,ant,bee"}), tmp_path / "held" / "t.parquet")
    split = eyas.data.open_dataset(fetched(folder, tmp_path / "held")).split("test")
    label = {pixels.tobytes(): ("cat", "ant", "bee")[n % 3] for n, pixels in enumerate(test)}
    for pixels, position in zip(split.images().numpy(), split.labels.tolist(), strict=True):
        assert CLASSES[position] == label[pixels.transpose(1, 2, 0).tobytes()]


def test_a_test_class_that_train_lacks_is_named(fetched, folder, tmp_path) -> None:
    write_folder(tmp_path / "held", make_images(3, seed=5), [0, 1, 2])
    (tmp_path / "held" / "cat").rename(tmp_path / "held" / "dog")
    with pytest.raises(DataError, match="test has a class 'dog'"):
        fetched(folder, tmp_path / "held")


@pytest.mark.parametrize("name", ["test", "val"])
def test_a_source_with_its_own_test_set_keeps_it(fetched, tmp_path, images, name) -> None:
    write_folder(tmp_path / "source", images, LABELS, prefix="train")
    test = make_images(30, seed=5)
    write_folder(tmp_path / "source", test, [n % 3 for n in range(30)], prefix=name)
    dataset = eyas.data.open_dataset(fetched(tmp_path / "source"))
    assert dataset.class_names == CLASSES
    kept = {pixels.transpose(1, 2, 0).tobytes() for pixels in dataset.split("test").images().numpy()}
    assert kept == {pixels.tobytes() for pixels in test}


def test_cifar_and_mnist_names_tell_train_from_test(fetched, tmp_path) -> None:
    write_cifar(tmp_path / "c", make_images(len(LABELS), 32), LABELS)
    write_cifar(tmp_path / "c", make_images(9, 32, seed=1), LABELS[:9], name="test_batch")
    assert len(eyas.data.open_dataset(fetched(tmp_path / "c", size=32)).split("test")) == 9
    write_idx_pair(tmp_path / "m", make_images(len(LABELS), 8, 1), LABELS)
    write_idx_pair(tmp_path / "m", make_images(9, 8, 1, seed=1), LABELS[:9], stem="t10k-")
    assert len(eyas.data.open_dataset(fetched(tmp_path / "m", channels=1)).split("test")) == 9


def test_a_test_and_a_validation_set_without_one_to_train_on_ask_which(fetched, tmp_path) -> None:
    for prefix in ("test", "val"):
        write_folder(tmp_path / "source", make_images(3), [0, 1, 2], prefix=prefix)
    with pytest.raises(DataError, match="`train` and `test`"):
        fetched(tmp_path / "source")


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "dev", "Testing")])
def test_of_three_parts_the_test_set_is_the_test_set(fetched, tmp_path, images, names) -> None:
    test = make_images(30, seed=5)
    for prefix, part, labels in zip(
        names, (images[:80], images[80:], test), (LABELS[:80], LABELS[80:], LABELS[:30]), strict=True
    ):
        write_folder(tmp_path / "source", part, labels, prefix=prefix)
    dataset = eyas.data.open_dataset(fetched(tmp_path / "source", where="included"))
    kept = {pixels.transpose(1, 2, 0).tobytes() for pixels in dataset.split("test").images().numpy()}
    assert kept == {pixels.tobytes() for pixels in test}
    assert sum(len(dataset.split(name)) for name in SPLITS[:3]) == len(images)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("Testing", r"class 'cat' has no image in the test set, class 'cats' has no image to train on: give both"),
        ("Training", r"class 'cats' has no image in the test set, class 'cat' has no image to train on: give both"),
    ],
)
def test_a_class_spelt_otherwise_in_one_part_is_named(fetched, tmp_path, images, part, words) -> None:
    for prefix, labels in (("Training", LABELS), ("Testing", LABELS[:30])):
        write_folder(tmp_path / "source", make_images(len(labels), seed=len(labels)), labels, prefix=prefix)
    (tmp_path / "source" / part / "cat").rename(tmp_path / "source" / part / "cats")
    with pytest.raises(DataError, match=words):
        fetched(tmp_path / "source", where="included")


def test_a_class_that_a_separate_test_set_lacks_is_named(fetched, folder, tmp_path) -> None:
    write_folder(tmp_path / "held", make_images(2, seed=5), [0, 1])
    with pytest.raises(DataError, match="class 'cat' has no image in the test set: give both"):
        fetched(folder, tmp_path / "held")


def test_fewer_images_are_those_with_the_smallest_hashes(fetched, folder, images) -> None:
    rows = pq.read_table(fetched(folder, max_images=80) / "index.parquet").to_pylist()
    every = sorted(hashlib.sha256(png(pixels)).hexdigest() for pixels in images)
    assert sorted(row["sha256"] for row in rows) == every[:80]


def test_a_class_absent_from_a_split_is_named(fetched, folder) -> None:
    for path in sorted((folder / "cat").iterdir())[1:]:
        path.unlink()
    with pytest.raises(DataError, match="class 'cat' has no image in split"):
        fetched(folder)
