"""Which images a registered version was made with, asked of the runs that made it and of those before."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from eyas.data.comparability import Comparability
from eyas.data.decoding import Preprocessing
from eyas.data.held_out import HeldOutImages
from eyas.data.index import IndexRow, write_index
from eyas.data.make_dataset import DatasetOptions, make_dataset
from eyas.data.split_assignment import SPLITS
from eyas.operations import tracking
from eyas.operations.tracking import MlflowStore, Version, model_registry
from tasks.registered_checkpoint import MADE_FROM
from tasks.seen_images import DATA_SET, images_seen, own_comparability, unseen_by
from tests.support.image_sources import CLASSES, make_images

Register = Callable[..., Version]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> MlflowStore:
    folder = tmp_path_factory.mktemp("mlflow")
    store = tracking.open_store(folder, uri=f"sqlite:///{folder / 'mlflow.db'}")
    store.client.create_registered_model("net")
    return store


@pytest.fixture
def register(store: MlflowStore, tmp_path: Path) -> Register:
    """Enter a version whose data set holds the named images, one word each: ``split:image``."""

    def make(images: str, *, data_set: str = "old", recorded: bool = True, **tags: str) -> Version:
        folder = tmp_path / f"fetch-{images}".replace(" ", "-").replace(":", "-")
        folder.mkdir(exist_ok=True)
        pairs = [word.split(":") for word in images.split()]
        assert {split for split, _ in pairs} <= set(SPLITS)
        write_index(folder / "index.parquet", [IndexRow(split, name, "f", -1, 0) for split, name in pairs])  # type: ignore[arg-type]
        run_id = tracking.start_pipeline(store, "default")
        if recorded:
            tracking.record_stage(store, run_id, tracking.StageRecord("fetch", images, folder))
        known = {DATA_SET: data_set, "eyas.comparable": "true", **tags}
        made = store.client.create_model_version("net", source="file:///nowhere", run_id=run_id, tags=known)
        return model_registry.get_version(store, "net", made.version)

    return make


def judged(store: MlflowStore, version: Version, test: str, *, data_set: str = "new") -> Comparability:
    return unseen_by(store, version, Path("nowhere"), HeldOutImages(data_set, frozenset(test), of_its_own=False))


def test_every_image_that_was_not_held_out_counts_as_seen(store: MlflowStore, register: Register) -> None:
    version = register("train:a calibration:b score:c test:d")
    assert images_seen(store, version) == {"a", "b", "c"}
    assert judged(store, version, "dxyz").comparable
    for image in "abc":
        assert judged(store, version, f"d{image}").reason == f"{version} was made with 1 of the 2 test images"


def test_of_a_data_set_that_knows_pixels_they_count_as_seen_too(store: MlflowStore, tmp_path: Path) -> None:
    """Two data sets of the same pixels in other files, as the fetch stage leaves them."""
    keys = {}
    for name, comment in (("old", None), ("new", "saved again")):
        folder = tmp_path / name
        write_commented(folder / "files" / "train", comment)
        options = DatasetOptions(Preprocessing(3, 8), (0.5,) * 3, (0.5,) * 3, 0.2, 0.2, 0.2)
        make_dataset(folder, options, {"train": "somewhere"})
        run_id = tracking.start_pipeline(store, "default")
        for file in (folder / "files").rglob("*.png"):
            file.unlink()
        tracking.record_stage(store, run_id, tracking.StageRecord("fetch", name, folder))
        seen = images_seen(store, Version("net", "1", {}, run_id=run_id))
        assert seen is not None
        keys[name] = seen
    assert {one for one in keys["old"] & keys["new"] if " " not in one} == set()
    assert {one for one in keys["old"] & keys["new"] if one.startswith("3 8 None ")}


def write_commented(root: Path, comment: str | None) -> None:
    for position, pixels in enumerate(make_images(120)):
        info = PngInfo()
        if comment:
            info.add_text("Comment", comment)
        place = root / CLASSES[position % 3] / f"{position}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place, pnginfo=info)


def test_a_version_has_seen_what_the_versions_before_it_saw(store: MlflowStore, register: Register) -> None:
    first = register("train:a test:b")
    second = register("train:c test:d", **{MADE_FROM: f"net/{first.number}"})
    third = register("train:e test:f", **{MADE_FROM: f"net/{second.number}"})
    assert images_seen(store, third) == {"a", "c", "e"}
    assert not judged(store, third, "a").comparable
    assert judged(store, third, "bdf").comparable
    store.client.delete_model_version("net", second.number)
    assert images_seen(store, third) is None


@pytest.mark.parametrize("loss", ["never recorded", "run of others"])
def test_where_nobody_knows_them_nothing_is_compared(store: MlflowStore, register: Register, loss: str) -> None:
    version = register("train:a test:b", recorded=loss != "never recorded")
    if loss == "run of others":
        version = Version("net", version.number, version.tags, run_id="0" * 32)
    assert images_seen(store, version) is None
    assert "is not known any more" in judged(store, version, "z").reason
    assert judged(store, version, "b", data_set="old").comparable


def test_what_was_found_at_its_making_is_in_its_tags(store: MlflowStore, register: Register) -> None:
    doubt = Comparability(False, "its checkpoint may have seen them")
    version = register("train:a test:b", **doubt.tags())
    assert judged(store, version, "b", data_set="old") == doubt
    assert judged(store, version, "b") == doubt


@pytest.mark.parametrize(
    ("params", "comparable"),
    [
        ({}, True),
        ({"baseline": {"checkpoint": None}, "fetch": {"test": None}}, True),
        ({"baseline": {"checkpoint": "w.pt"}, "fetch": {"test": "data/test"}}, True),
        ({"baseline": {"checkpoint": "w.pt", "seen_by_checkpoint": False}, "fetch": {"test": None}}, False),
        ({"baseline": {"checkpoint": "models:/net@champion"}, "fetch": {}}, False),
    ],
)
def test_of_a_version_from_before_its_parameters_are_asked(
    tmp_path: Path, params: dict[str, object], comparable: bool
) -> None:
    (tmp_path / "params.json").write_text(json.dumps(params))
    assert own_comparability(Version("net", "1"), tmp_path).comparable is comparable
