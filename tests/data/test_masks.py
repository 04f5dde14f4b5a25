"""Images with masks: read, resized and split alike, and refused by name where they do not fit."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from eyas.data import open_dataset
from eyas.data.decoding import Preprocessing
from eyas.data.formats.masks import Masks
from eyas.data.mask_decoding import decode_mask
from eyas.data.shapes import CLASSES, IGNORE, write_shapes
from eyas.data.tasks import IGNORED, Task
from eyas.errors import ChecksumError, DataError

SEGMENTATION = Task.parse("segmentation")
IMAGES = 60
SIZE = 16


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_shapes(tmp_path / "shapes", images=IMAGES, size=SIZE)
    return tmp_path / "shapes"


@pytest.fixture
def read(fetched: Callable[..., Path]) -> Callable[..., Any]:
    return lambda folder, **options: open_dataset(fetched(folder, task=SEGMENTATION, size=SIZE, **options))


def save(path: Path, pixels: np.ndarray, mode: str | None = None) -> None:
    Image.fromarray(pixels, mode).save(path)


def stored(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    pair = (Image.open(folder / part / f"{name}.png") for part in ("images", "masks"))
    image, mask = map(np.asarray, pair)
    return image, mask


def test_every_pixel_has_the_class_of_its_mask(folder: Path, read: Callable[..., Any]) -> None:
    data = read(folder)
    assert data.class_names == CLASSES
    assert data.task == SEGMENTATION
    masks = {image.tobytes(): mask for image, mask in (stored(folder, f"{number:04}") for number in range(IMAGES))}
    seen = 0
    for split in data.splits.values():
        images, labels = split.images(), split.labels
        assert labels.shape == (len(split), SIZE, SIZE)
        for image, label in zip(images, labels, strict=True):
            mask = masks[np.ascontiguousarray(image.permute(1, 2, 0).numpy()).tobytes()].astype(int)
            np.testing.assert_array_equal(label.numpy(), np.where(mask == IGNORE, IGNORED, mask))
            seen += 1
    assert seen == IMAGES


def test_splits_count_images_once_and_classes_by_the_images_they_occur_in(
    folder: Path, read: Callable[..., Any]
) -> None:
    manifest = read(folder).manifest
    assert sum(manifest.images.values()) == IMAGES
    for split, counts in manifest.splits.items():
        assert counts["background"] == manifest.images[split] > 0
        assert sum(counts.values()) > manifest.images[split]


def test_streamed_masks_are_those_from_memory(folder: Path, read: Callable[..., Any]) -> None:
    data = read(folder)
    order = torch.randperm(len(data.split("train")), generator=torch.Generator().manual_seed(0))
    small = open_dataset(data.folder, memory_limit=1, hash_limit=1)
    pairs = zip(data.split("train").batches(7, order), small.split("train").batches(7, order), strict=True)
    for (images, labels), (other_images, other_labels) in pairs:
        assert torch.equal(images, other_images)
        assert torch.equal(labels, other_labels)


def test_another_mask_is_another_data_set_and_a_changed_one_is_named(folder: Path, read: Callable[..., Any]) -> None:
    before = read(folder)
    _, mask = stored(folder, "0007")
    save(folder / "masks/0007.png", np.where(mask == 0, 1, 0).astype(np.uint8))
    after = read(folder)
    assert before.digest != after.digest
    assert {name: len(split) for name, split in before.splits.items()} == {n: len(s) for n, s in after.splits.items()}
    copy = before.folder / "files/train/masks/0007.png"
    size = copy.stat().st_size
    copy.write_bytes((copy.read_bytes() + bytes(size))[: size - 1] + b"x")
    with pytest.raises(ChecksumError, match=r"masks/0007\.png"):
        open_dataset(before.folder)


def test_masks_are_resized_by_nearest_neighbour_and_cropped_with_their_images() -> None:
    mask = np.zeros((6, 8), np.uint8)
    mask[:, 4:] = 3
    image = np.repeat((mask * 80)[..., None], 3, axis=2)
    how = Preprocessing(3, 10, 12)
    numbers, size = decode_mask(png(mask), "mask", how, Masks(classes=("a", "b", "c", "d")))
    assert size == (8, 6)
    assert set(np.unique(numbers).tolist()) == {0, 3}  # bilinear resizing would make up 1 and 2
    pixels = how(image, "image")[0]
    assert ((pixels > 120) == (numbers == 3)).all()


def png(mask: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG", **options)
    return buffer.getvalue()


def test_the_indices_of_a_palette_are_class_numbers(folder: Path, read: Callable[..., Any]) -> None:
    before = read(folder)
    for path in (folder / "masks").iterdir():
        image = Image.fromarray(np.asarray(Image.open(path)), "P")
        image.putpalette([200, 10, 10, 10, 200, 10, 10, 10, 200, 90, 90, 90] + [0] * 756)
        image.save(path)
    after = read(folder)
    assert all(torch.equal(before.split(name).labels, after.split(name).labels) for name in before.splits)


def spoil(folder: Path, **changes: Any) -> None:
    _, mask = stored(folder, "0003")
    save(folder / "masks/0003.png", changes["mask"](mask), changes.get("mode"))


def test_a_mask_of_another_size_than_its_image(folder: Path, read: Callable[..., Any]) -> None:
    spoil(folder, mask=lambda mask: mask[:-2])
    with pytest.raises(DataError, match=r"masks/0003\.png has 16 x 14 pixels and train/images/0003\.png 16 x 16"):
        read(folder)


def test_a_mask_with_numbers_beyond_the_classes(folder: Path, read: Callable[..., Any]) -> None:
    spoil(folder, mask=lambda mask: np.where(mask == 0, 9, mask))
    with pytest.raises(DataError, match=r"0003\.png holds 9, where 4 classes are numbered from 0 to 3, and 255"):
        read(folder)


def test_ignored_pixels_are_a_class_that_is_missing_where_nothing_is_to_be_ignored(
    folder: Path, read: Callable[..., Any]
) -> None:
    with pytest.raises(DataError, match=r"holds 255, where 4 classes are numbered from 0 to 3"):
        read(folder, format=Masks(ignore=None))


def test_an_image_without_a_mask(folder: Path, read: Callable[..., Any]) -> None:
    (folder / "masks/0003.png").unlink()
    with pytest.raises(DataError, match=r"images/0003\.png has no mask: expected masks/0003\.png"):
        read(folder)


def test_a_mask_without_an_image(folder: Path, read: Callable[..., Any]) -> None:
    (folder / "images/0003.png").unlink()
    with pytest.raises(DataError, match=r"masks/0003\.png has no image of the same name"):
        read(folder)


def test_a_mask_of_another_format_is_told_beside_the_image_that_lacks_one(
    folder: Path, read: Callable[..., Any]
) -> None:
    (folder / "masks/0003.png").rename(folder / "masks/0003.jpg")
    with pytest.raises(DataError, match=r"has no mask: .*there is masks/0003\.jpg"):
        read(folder)


def test_two_images_of_one_mask(folder: Path, read: Callable[..., Any]) -> None:
    Image.open(folder / "images/0003.png").save(folder / "images/0003.bmp")
    with pytest.raises(DataError, match=r"two images have the mask masks/0003\.png"):
        read(folder)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_a_colour_mask(folder: Path, read: Callable[..., Any], mode: str) -> None:
    path = folder / "masks/0003.png"
    Image.open(path).convert(mode).save(path)
    with pytest.raises(DataError, match=rf"0003\.png is a PNG in colours \({mode}\): a mask is a PNG of one class"):
        read(folder)


def test_a_jpeg_that_is_called_png(folder: Path, read: Callable[..., Any]) -> None:
    Image.open(folder / "masks/0003.png").save(folder / "masks/0003.png", "JPEG")
    with pytest.raises(DataError, match=r"0003\.png is a JPEG"):
        read(folder)


def test_grey_values_of_few_bits_which_decoders_scale() -> None:
    # a 2 x 1 grey PNG of 4 bits with the values 1 and 2, written out: Pillow writes none, and reads them as 17 and 34
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 4, 0, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\x00\x12")) + chunk(b"IEND", b"")
    assert np.asarray(Image.open(io.BytesIO(content))).tolist() == [[17, 34]]
    with pytest.raises(DataError, match="grey of 4 bits"):
        decode_mask(content, "mask", Preprocessing(3, 2), Masks(classes=tuple("abc")))


def test_a_mask_of_ignored_pixels_only(folder: Path, read: Callable[..., Any]) -> None:
    spoil(folder, mask=lambda mask: np.full_like(mask, IGNORE))
    with pytest.raises(DataError, match=r"0003\.png holds nothing but pixels to ignore \(255\)"):
        read(folder)


def test_broken_masks_may_be_left_out_like_broken_images(folder: Path, read: Callable[..., Any]) -> None:
    (folder / "masks/0003.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"masks/0003\.png does not decode"):
        read(folder)
    assert sum(read(folder, skip_broken=1).manifest.images.values()) == IMAGES - 1


def test_classes_without_names(folder: Path, read: Callable[..., Any]) -> None:
    (folder / "classes.txt").unlink()
    with pytest.raises(DataError, match=r"expected their names in classes\.txt, a line each, and there is none"):
        read(folder)
    assert read(folder, format=Masks(classes=("a", "b", "c", "d"))).class_names == ("a", "b", "c", "d")


def test_a_test_set_of_its_own(folder: Path, read: Callable[..., Any]) -> None:
    for part, numbers in (("train", range(45)), ("val", range(45, IMAGES))):
        for kind in ("images", "masks"):
            (folder / part / kind).mkdir(parents=True)
            for number in numbers:
                (folder / kind / f"{number:04}.png").rename(folder / part / kind / f"{number:04}.png")
    assert len(read(folder).split("test")) == 15


def test_task_and_format_have_to_agree(folder: Path, fetched: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match=r"`format` masks has labels for segmentation, and `task` is classification"):
        fetched(folder, size=SIZE, format=Masks())


def test_a_data_set_of_classes_says_nothing_of_masks(folder: Path, fetched: Callable[..., Path]) -> None:
    """What was written before there were tasks keeps its bytes."""
    for part in ("cat", "dog"):
        (folder / "photos" / part).mkdir(parents=True)
        for number in range(IMAGES // 2):
            source = folder / "images" / f"{number + (part == 'dog') * IMAGES // 2:04}.png"
            source.rename(folder / "photos" / part / source.name)
    manifest = json.loads((fetched(folder / "photos", size=SIZE) / "manifest.json").read_text())
    assert not {"task", "images"} & manifest.keys()
