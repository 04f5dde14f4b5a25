"""A built data set: same images through every format, verified, in a fixed order, in memory or on the fly."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import eyas.data
from eyas.errors import DataError
from tests.data.conftest import LABELS
from tests.support.image_sources import (
    CLASSES,
    make_images,
    png,
    write_cifar,
    write_folder,
    write_idx_pair,
    write_parquet,
)

SPLITS = ("train", "calibration", "score", "test")


def index_rows(folder: Path) -> list[dict[str, object]]:
    """The index as pyarrow alone reads it."""
    return pq.read_table(folder / "index.parquet").to_pylist()


def everything(dataset: eyas.data.Dataset) -> dict[bytes, int]:
    """Label by pixels, over all splits."""
    labels = {}
    for name in SPLITS:
        split = dataset.split(name)
        for pixels, label in zip(split.images().numpy(), split.labels.tolist(), strict=True):
            labels[pixels.transpose(1, 2, 0).tobytes()] = label
    return labels


def test_every_image_is_in_one_split_with_its_label(fetched, folder, images) -> None:
    dataset = eyas.data.open_dataset(fetched(folder))
    assert dataset.class_names == CLASSES
    assert (dataset.num_classes, dataset.image_shape) == (3, (3, 8, 8))
    assert sum(len(dataset.split(name)) for name in SPLITS) == len(LABELS)
    assert everything(dataset) == {pixels.tobytes(): label for pixels, label in zip(images, LABELS, strict=True)}


def test_formats_agree_on_the_splits(fetched, folder, images, tmp_path) -> None:
    """PNG bytes are the same in a folder and in a table, so every image lands in the same split."""
    write_parquet(tmp_path / "table" / "a.parquet", images, LABELS)
    one, two = eyas.data.open_dataset(fetched(folder)), eyas.data.open_dataset(fetched(tmp_path / "table"))
    assert one.digest == two.digest
    for name in SPLITS:
        assert torch.equal(one.split(name).images(), two.split(name).images())
        assert torch.equal(one.split(name).labels, two.split(name).labels)
        assert one.split(name).digest == two.split(name).digest


def test_order_is_that_of_content_hashes(fetched, folder, images) -> None:
    dataset = eyas.data.open_dataset(fetched(folder))
    by_hash = {hashlib.sha256(png(pixels)).hexdigest(): pixels for pixels in images}
    for name in SPLITS:
        stored = [pixels.transpose(1, 2, 0).tobytes() for pixels in dataset.split(name).images().numpy()]
        wanted = [pixels.tobytes() for _, pixels in sorted(by_hash.items()) if pixels.tobytes() in set(stored)]
        assert stored == wanted


def test_added_images_move_no_other(fetched, folder, images) -> None:
    before = {row["sha256"]: row["split"] for row in index_rows(fetched(folder))}
    write_folder(folder, make_images(90, seed=1), [n % 3 for n in range(90)], prefix="")
    for position, path in enumerate(sorted(folder.rglob("*.png"))):
        path.rename(path.with_name(f"{position}-renamed.png"))
    more = make_images(60, seed=2)
    write_folder(folder, more, [n % 3 for n in range(60)])
    after = {row["sha256"]: row["split"] for row in index_rows(fetched(folder))}
    shared = set(before) & set(after)
    assert len(shared) > 20
    assert {digest: after[digest] for digest in shared} == {digest: before[digest] for digest in shared}


def test_equal_input_gives_equal_bytes(fetched, folder, tmp_path) -> None:
    one = fetched(folder)
    shutil.copytree(folder, tmp_path / "elsewhere")
    two = fetched(tmp_path / "elsewhere", threads=1)
    for name in ("manifest.json", "index.parquet"):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_limits_take_a_prefix_and_reuse_what_was_decoded(fetched, folder) -> None:
    folder = fetched(folder)
    whole = eyas.data.open_dataset(folder).split("train").images()
    split = eyas.data.open_dataset(folder).split("train")
    assert torch.equal(split.images(limit=5), whole[:5])
    assert torch.equal(split.images(limit=20), whole[:20])
    assert torch.equal(split.images(), whole)
    assert torch.equal(split.images(limit=7), whole[:7])
    assert torch.equal(split.images_at([8, 0, 3]), whole[[8, 0, 3]])
    assert len(split.images(limit=10**6)) == len(split)


@pytest.mark.parametrize("source", ["folder", "parquet", "idx", "cifar"])
def test_streaming_gives_the_same_as_memory(fetched, tmp_path, source) -> None:
    size, channels = (32 if source == "cifar" else 8), (1 if source == "idx" else 3)
    images = make_images(len(LABELS), size, channels)
    root = tmp_path / "source"
    writers = {
        "folder": write_folder,
        "parquet": lambda root, *rest: write_parquet(root / "a.parquet", *rest),
        "idx": write_idx_pair,
        "cifar": write_cifar,
    }
    writers[source](root, images, LABELS)
    folder = fetched(root, size=size, channels=channels)
    kept = eyas.data.open_dataset(folder).split("train")
    streamed = eyas.data.open_dataset(folder, memory_limit=1).split("train")
    assert kept.fits_memory
    assert not streamed.fits_memory
    order = torch.randperm(len(kept), generator=torch.Generator().manual_seed(0))
    for wanted in (None, order, order[:9].tolist()):
        pairs = zip(kept.batches(7, wanted), streamed.batches(7, wanted), strict=True)
        for (images_a, labels_a), (images_b, labels_b) in pairs:
            assert torch.equal(images_a, images_b)
            assert torch.equal(labels_a, labels_b)
    assert len(streamed._cache) == 0


def test_batches_cover_the_order(fetched, folder) -> None:
    split = eyas.data.open_dataset(fetched(folder)).split("train")
    order = [3, 1, 1, 0]
    batches = list(split.batches(3, order))
    assert [len(labels) for _, labels in batches] == [3, 1]
    assert torch.equal(torch.cat([images for images, _ in batches]), split.images()[order])


def test_normalisation_is_the_formula(fetched, folder) -> None:
    dataset = eyas.data.open_dataset(fetched(folder, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7)))
    images = dataset.split("score").images()
    before = images.clone()
    expected = (images.double() / 255 - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1).double()) / torch.tensor(
        [0.5, 0.6, 0.7]
    ).view(3, 1, 1).double()
    result = dataset.normalise(images)
    assert result.dtype == torch.float32
    assert torch.allclose(result.double(), expected, atol=1e-6)
    assert torch.equal(images, before)


def test_an_unknown_split_lists_what_there_is(fetched, folder) -> None:
    with pytest.raises(DataError, match="'validation': there are train, calibration, score, test"):
        eyas.data.open_dataset(fetched(folder)).split("validation")


def test_the_digest_follows_what_matters(fetched, folder) -> None:
    base = eyas.data.open_dataset(fetched(folder)).digest
    for changes in ({"mean": (0.4,) * 3}, {"size": 9}, {"score_fraction": 0.3}, {"max_images": 110}):
        assert eyas.data.open_dataset(fetched(folder, **changes)).digest != base
    sorted((folder / "bee").iterdir())[0].rename(folder / "bee" / "renamed.png")
    assert eyas.data.open_dataset(fetched(folder)).digest == base


def test_imagenet_layout_given_by_two_addresses(fetched, tmp_path) -> None:
    """1,000 classes would take long; three do: other sizes, a crop, and names of the kind n01440764."""
    for part, seed, count in (("train", 0, 90), ("val", 1, 30)):
        for position, pixels in enumerate(make_images(count, 24, seed=seed)):
            path = tmp_path / "imagenet" / part / f"n0000000{position % 3}" / f"{position}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[: 20 + position % 5]).save(path)
    root = tmp_path / "imagenet"
    dataset = eyas.data.open_dataset(fetched(root / "train", root / "val", size=16, resize=18))
    assert dataset.class_names == ("n00000000", "n00000001", "n00000002")
    assert dataset.image_shape == (3, 16, 16)
    assert dataset.split("test").labels.bincount().tolist() == [10, 10, 10]


@pytest.mark.real_data
def test_real_cifar10(fetched, real_data) -> None:
    source = real_data / "cifar10_jpeg"
    dataset = eyas.data.open_dataset(fetched(source / "test.parquet", size=32))
    assert dataset.class_names[:3] == ("airplane", "automobile", "bird")
    assert sum(len(dataset.split(name)) for name in SPLITS) == 10_000
    row = next(row for row in index_rows(dataset.folder) if row["split"] == "test")
    cell = pq.read_table(source / "test.parquet")["img"][row["row"]].as_py()
    with Image.open(__import__("io").BytesIO(cell["bytes"])) as image:
        expected = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    assert torch.equal(dataset.split("test").images(limit=1)[0], expected)
    assert cell["path"].startswith(dataset.class_names[row["label"]])
