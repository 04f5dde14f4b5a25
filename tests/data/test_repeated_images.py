"""Images that are there more than once, each copy stored in another way: never on both sides of a split."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from eyas.data.index import IndexRow, read_index, write_index
from eyas.data.manifest import INDEX, read_manifest
from eyas.data.repeated_images import first_copies
from eyas.data.split_assignment import SPLITS
from eyas.errors import DataError
from tests.data.conftest import LABELS
from tests.support.image_sources import CLASSES, make_images, write_folder


def write_copies(root: Path, images: np.ndarray, labels: list[int], notes: str) -> None:
    """Each image once for each letter of ``notes``, which stands in a comment of the file: the pixels are the same."""
    for note in notes:
        for position, (pixels, label) in enumerate(zip(images, labels, strict=True)):
            info = PngImagePlugin.PngInfo()
            info.add_text("Comment", note)
            place = root / CLASSES[label] / f"{position}{note}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG", pnginfo=info)
            place.write_bytes(buffer.getvalue())


@pytest.mark.parametrize("max_images", [None, 200])
def test_copies_lie_in_one_split_however_they_are_stored(
    fetched: Callable[..., Path],
    images: np.ndarray,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    max_images: int | None,
) -> None:
    write_copies(tmp_path / "source", images, LABELS, "abc")
    folder = fetched(tmp_path / "source", max_images=max_images)
    rows = read_index(folder / INDEX)
    splits: dict[str, set[str]] = {}
    for row in rows:
        assert row.pixels != row.sha256
        splits.setdefault(row.pixels, set()).add(row.split)
    assert all(len(names) == 1 for names in splits.values())
    assert {name for names in splits.values() for name in names} == set(SPLITS)
    repeated = read_manifest(folder).repeated
    assert repeated is not None
    assert sum(repeated.values()) == len(rows) - len(splits)
    assert f"{repeated['test']} of the {sum(row.split == 'test' for row in rows)} images of split test" in caplog.text


def test_without_copies_each_image_goes_where_its_own_bytes_say(
    fetched: Callable[..., Path], folder: Path, images: np.ndarray, tmp_path: Path
) -> None:
    """A copy moves at most the images that it is a copy of."""
    write_copies(tmp_path / "copy", images[:1], LABELS[:1], "x")
    before = {row.sha256: row.split for row in read_index(fetched(folder) / INDEX)}
    (folder / "ant" / "copy.png").write_bytes((tmp_path / "copy" / "ant" / "0x.png").read_bytes())
    after = {row.sha256: row.split for row in read_index(fetched(folder) / INDEX)}
    moved = [digest for digest, split in before.items() if after[digest] != split]
    assert len(after) == len(before) + 1
    assert len(moved) <= 1


@given(st.lists(st.tuples(st.text("0123456789abcdef", min_size=2, max_size=3), st.sampled_from("pqrs")), max_size=20))
def test_the_first_copy_has_the_smallest_digest_in_any_order(images: list[tuple[str, str]]) -> None:
    digests, pixels = [one for one, _ in images], [key for _, key in images]
    first = first_copies(digests, pixels)
    assert first == [min(one for one, other in images if other == key) for key in pixels]
    assert first_copies(digests[::-1], pixels[::-1]) == first[::-1]


def test_an_index_says_nothing_of_pixels_where_the_stored_images_are_pixels(tmp_path: Path) -> None:
    rows = [IndexRow("test", "a", "f", 0, 1), IndexRow("train", "b", "f", 1, 0)]
    write_index(tmp_path / "same", rows)
    write_index(tmp_path / "other", [rows[0], rows[1]._replace(pixels="c")])
    assert read_index(tmp_path / "same") == rows
    assert [row.pixel_hash for row in read_index(tmp_path / "same")] == ["a", "b"]
    assert [row.pixel_hash for row in read_index(tmp_path / "other")] == ["a", "c"]


def test_repeated_images_of_a_test_set_are_counted(
    fetched: Callable[..., Path], folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_copies(tmp_path / "held", make_images(9, seed=5), LABELS[:9], "abcde")
    assert read_manifest(fetched(folder, tmp_path / "held")).repeated == {"test": 36}
    assert "36 of the 45 images of split test repeat the pixels of another" in caplog.text
    assert "accuracies on it are known less well" in caplog.text


def test_what_is_there_once_is_not_counted_and_old_manifests_do_not_say(
    fetched: Callable[..., Path], folder: Path
) -> None:
    manifest = read_manifest(fetched(folder))
    assert (manifest.repeated, manifest.knows_pixels) == ({}, True)
    before = manifest.model_copy(update={"repeated": None})
    assert "repeated" not in before.to_json()
    assert not before.knows_pixels


def test_images_that_are_all_alike_are_refused(fetched: Callable[..., Path], tmp_path: Path) -> None:
    write_folder(tmp_path / "source", np.zeros((60, 8, 8, 3), np.uint8), LABELS[:60])
    with pytest.raises(DataError, match="all 60 images of `train` have the same pixels"):
        fetched(tmp_path / "source")
