"""Where the test images come from: given, brought by the training data, or cut from it; never also trained on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from eyas.data.index import read_index
from eyas.data.make_dataset import DatasetOptions, make_dataset
from eyas.data.manifest import INDEX, read_manifest
from eyas.errors import DataError
from tests.support.image_sources import CLASSES, make_images, write_folder, write_parquet

LABELS = [number % 3 for number in range(120)]
HELD = [number % 3 for number in range(30)]


@pytest.mark.parametrize("write", ["folders", "parquet"])
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(repeated=st.sets(st.integers(0, 26), max_size=20), limit=st.sampled_from([None, 90]))
def test_a_test_image_that_is_a_training_image_too_is_no_test_image(
    tmp_path_factory: pytest.TempPathFactory,
    options: Callable[..., DatasetOptions],
    write: str,
    repeated: set[int],
    limit: int | None,
) -> None:
    train, held = make_images(len(LABELS)), make_images(len(HELD), seed=9)
    for position in repeated:
        held[position] = train[position]
    folder = tmp_path_factory.mktemp("fetch")
    for part, images, labels in (("train", train, LABELS), ("test", held, HELD)):
        if write == "folders":
            write_folder(folder / "files" / part, images, labels)
        else:
            write_parquet(folder / "files" / part / "images.parquet", images, labels)
    metrics = make_dataset(folder, options(max_images=limit), {"train": "a", "test": "b"})
    rows = read_index(folder / INDEX)
    test = {row.sha256 for row in rows if row.split == "test"}
    assert test.isdisjoint(row.sha256 for row in rows if row.split != "test")
    assert metrics["test"] == len(test) == len(HELD) - len(repeated)
    assert metrics["train_images_in_test"] == len(repeated)
    left_out = read_manifest(folder).left_out
    assert left_out == ({"in test and in train": len(repeated)} if repeated else {})


def test_a_test_set_that_is_the_training_set_is_refused(
    fetched: Callable[..., Path], folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="all 120 images of the test set are in `train` as well"):
        fetched(folder, folder)
    write_folder(tmp_path / "part", make_images(len(LABELS))[:9], LABELS[:9])
    with pytest.raises(DataError, match="all 9 images"):
        fetched(folder, tmp_path / "part")


@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("Training", "Testing"), ("train", "val")])
def test_a_test_set_that_the_training_data_brings(
    fetched: Callable[..., Path], tmp_path: Path, train: str, test: str
) -> None:
    images = make_images(150)
    images[140] = images[0]
    write_folder(tmp_path / "both", images[:120], LABELS, prefix=train)
    write_folder(tmp_path / "both", images[120:], HELD, prefix=test)
    for value in ("included", None):  # which the manifest tells, so that advice names no share of the training data
        manifest = read_manifest(fetched(tmp_path / "both", where=value))
        assert sum(manifest.splits["test"].values()) == 29
        assert (manifest.test_from_train, manifest.test_included) == (False, True)
    with pytest.raises(DataError, match="`test` is from_train, but `train` brings a test set of its own"):
        fetched(tmp_path / "both", where="from_train")


def test_what_is_not_there_is_not_included(fetched: Callable[..., Path], folder: Path) -> None:
    with pytest.raises(DataError, match="`test` is included, but `train` brings no test set of its own"):
        fetched(folder, where="included")


def test_cut_from_train_are_the_same_images_and_the_manifest_says_so(
    fetched: Callable[..., Path], folder: Path
) -> None:
    plain, marked = (fetched(folder, where=value) for value in (None, "from_train"))
    assert (plain / INDEX).read_bytes() == (marked / INDEX).read_bytes()
    assert [read_manifest(one).test_from_train for one in (plain, marked)] == [False, True]
    assert "test_from_train" not in (plain / "manifest.json").read_text()
    assert np.unique([row.split for row in read_index(marked / INDEX)]).tolist() == [
        "calibration", "score", "test", "train",
    ]  # fmt: skip


@pytest.mark.parametrize("stored", [{"format": "bmp"}, {"format": "webp", "lossless": True}, {"format": "tiff"}])
@pytest.mark.parametrize("apart", [0, 12])
def test_images_that_are_stored_otherwise_are_the_same_images(
    fetched: Callable[..., Path], tmp_path: Path, stored: dict[str, Any], apart: int
) -> None:
    images = make_images(len(LABELS) + apart)
    write_folder(tmp_path / "train", images[: len(LABELS)], LABELS)
    for position, pixels in enumerate(images):
        place = tmp_path / "test" / CLASSES[position % 3] / f"{position}.{stored['format']}"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place, **stored)
    if not apart:
        with pytest.raises(DataError, match=r"all 120 images of the test set are in `train`"):
            fetched(tmp_path / "train", tmp_path / "test")
        return
    manifest = read_manifest(fetched(tmp_path / "train", tmp_path / "test"))
    assert sum(manifest.splits["test"].values()) == apart
    assert manifest.left_out == {"in test and in train": len(LABELS)}
