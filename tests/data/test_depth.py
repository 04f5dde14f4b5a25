"""Grey images of 16 bits that hold fewer: refused, since they would be read as black."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eyas.data.depth import check_depth
from eyas.errors import DataError
from tests.data.conftest import LABELS
from tests.support.image_sources import CLASSES, make_images, write_folder


def write_deep(root: Path, images_NHWC: np.ndarray, factor: int) -> None:
    for position, pixels in enumerate(images_NHWC):
        place = root / CLASSES[position % 3] / f"{position}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[..., 0].astype(np.uint16) * factor).save(place)


@pytest.mark.parametrize(("factor", "words"), [(1, "255, .*8 bits, times 257"), (16, "4080, .*12 bits, times 16")])
@pytest.mark.parametrize("part", ["train", "test"])
def test_a_part_that_holds_fewer_bits_is_refused_with_what_was_seen(
    fetched: Callable[..., Path], tmp_path: Path, factor: int, words: str, part: str
) -> None:
    factors = {"train": 257, "test": 257} | {part: factor}
    images = make_images(len(LABELS) + 30, channels=1)
    write_deep(tmp_path / "train", images[30:], factors["train"])
    write_deep(tmp_path / "test", images[:30], factors["test"])
    with pytest.raises(DataError, match=rf"16 bits in `{part}` hold no value above {words}"):
        fetched(tmp_path / "train", tmp_path / "test", channels=1)


def test_dark_images_among_bright_ones_are_taken_and_so_are_8_bits(
    fetched: Callable[..., Path], tmp_path: Path
) -> None:
    images = make_images(3 * len(LABELS), channels=1)
    write_deep(tmp_path / "train", images, 16)
    write_deep(tmp_path / "train", images[:1], 257)
    assert fetched(tmp_path / "train", channels=1)
    write_folder(tmp_path / "dark", images // 64, 3 * LABELS)
    assert fetched(tmp_path / "dark", channels=1)


@pytest.mark.parametrize("peak", [0, 255, 4095])
def test_the_least_value_that_is_enough(peak: int) -> None:
    with pytest.raises(DataError, match=f"no value above {peak},"):
        check_depth({"train": peak})
    check_depth({"train": 4096})
