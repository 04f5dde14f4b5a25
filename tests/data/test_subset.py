"""A sample taken in passing is the data set that storing everything would give."""

from collections.abc import Callable
from pathlib import Path

import pytest

import eyas.data
from eyas.data.make_dataset import DatasetOptions, make_dataset
from eyas.data.sources import fetch_files
from eyas.data.subset import fetch_subset
from eyas.errors import DataError
from eyas.storage import Store
from eyas.storage.settings import StorageSettings
from tests.support.image_sources import make_images, png, write_cifar, write_folder, write_parquet
from tests.support.peers import bucket_in, put_tree, s3_service, set_credentials

LABELS = [n % 3 for n in range(150)]


def shards(root: Path, style: str) -> None:
    images = make_images(len(LABELS))
    write_parquet(root / "data-0.parquet", images[:70], LABELS[:70], style=style)
    write_parquet(root / "data-1.parquet", images[70:], LABELS[70:], style=style)


SOURCES: dict[str, Callable[[Path], None]] = {
    "folder": lambda root: write_folder(root, make_images(len(LABELS)), LABELS),
    "structs": lambda root: shards(root, "struct"),
    "bytes": lambda root: shards(root, "binary"),
    "texts": lambda root: shards(root, "text"),
}


@pytest.fixture
def digests(tmp_path, options) -> Callable[..., tuple[str, str]]:
    """Digest of the data set of everything with ``max_images``, and of the sample alone."""

    def make(address: str, store: Store, count: int = 90, **changes: object) -> tuple[str, str]:
        settings: DatasetOptions = options(max_images=count, **changes)
        whole, part = tmp_path / "whole", tmp_path / "part"
        fetch_files(address, whole / "files" / "train", store.bring, {})
        assert fetch_subset(address, part / "files" / "train", store, max_images=count, format="auto")
        for folder in (whole, part):
            make_dataset(folder, settings, {"train": "x"})
        return eyas.data.open_dataset(whole).digest, eyas.data.open_dataset(part).digest

    return make


@pytest.mark.parametrize("name", SOURCES)
def test_a_sample_is_the_same_data_set(tmp_path, digests, name) -> None:
    SOURCES[name](tmp_path / "source")
    whole, part = digests(str(tmp_path / "source"), Store(state=tmp_path / "state"))
    assert whole == part
    kept = [path for path in (tmp_path / "part" / "files").rglob("*") if path.is_file()]
    assert len(kept) == (90 if name == "folder" else 1)


def test_a_pattern_and_a_single_table_can_be_sampled(tmp_path, digests) -> None:
    SOURCES["bytes"](tmp_path / "source")
    (tmp_path / "source" / "other.txt").write_text("x")
    whole, part = digests(str(tmp_path / "source" / "data-*.parquet"), Store(state=tmp_path / "state"))
    assert whole == part


@pytest.mark.parametrize("name", ["folder", "structs"])
def test_a_sample_from_s3_stores_nothing_else(tmp_path, digests, monkeypatch, name) -> None:
    set_credentials(monkeypatch.setenv)
    SOURCES[name](tmp_path / "source")
    with s3_service() as endpoint, bucket_in(endpoint) as bucket:
        settings = StorageSettings(endpoint_url=endpoint)
        put_tree(endpoint, bucket, "set", tmp_path / "source")
        passing = Store(settings, state=tmp_path / "passing")
        assert fetch_subset(f"s3://{bucket}/set", tmp_path / "s" / "train", passing, max_images=90, format="auto")
        assert not (tmp_path / "passing").exists()
        whole, part = digests(f"s3://{bucket}/set", Store(settings, state=tmp_path / "state"))
    assert whole == part


def test_duplicates_do_not_crowd_out_others(tmp_path, digests) -> None:
    images = make_images(400)
    images[1::2] = images[::2]
    labels = [(n // 2) % 3 for n in range(400)]
    write_folder(tmp_path / "source", images, labels)
    whole, part = digests(str(tmp_path / "source"), Store(state=tmp_path / "state"), count=301)
    assert whole == part


def test_a_class_that_loses_all_its_images_is_named(tmp_path) -> None:
    SOURCES["folder"](tmp_path / "source")
    with pytest.raises(DataError, match="has no image among the `max_images` 2"):
        fetch_subset(str(tmp_path / "source"), tmp_path / "out", Store(state=tmp_path), max_images=2, format="auto")


def test_sources_that_must_be_whole_are_left_alone(tmp_path) -> None:
    store = Store(state=tmp_path / "state")
    write_folder(tmp_path / "own", make_images(3), [0, 1, 2], prefix="train")
    write_folder(tmp_path / "own", make_images(3, seed=1), [0, 1, 2], prefix="test")
    write_cifar(tmp_path / "cifar", make_images(3, 32), [0, 1, 2])
    (tmp_path / "set.zip").write_bytes(b"PK")
    for name in ("own", "cifar", "set.zip"):
        assert not fetch_subset(str(tmp_path / name), tmp_path / "out", store, max_images=2, format="auto")
        assert not (tmp_path / "out").exists()


def test_a_damaged_row_is_named(tmp_path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [png(image) for image in make_images(4)]
    pq.write_table(pa.table({"image": [*rows[:2], None, rows[3]], "label": [0, 1, 2, 0]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet row 2 holds no image"):
        fetch_subset(str(tmp_path / "a.parquet"), tmp_path / "o", Store(state=tmp_path), max_images=2, format="auto")
