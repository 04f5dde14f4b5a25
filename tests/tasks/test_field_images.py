"""Images of the field as the device reads them: any place and format, each known by its sha256."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from eyas.config import parse_params
from eyas.data.decoding import Preprocessing
from eyas.errors import DataError
from eyas.storage import Store
from tasks.field_images import FieldImages, read_field

CLASSES = ("cat", "dog")
DECODE = Preprocessing(3, 8)
Draw = Callable[[int], Image.Image]


def grey(value: int) -> Image.Image:
    return Image.new("RGB", (8, 8), (value, value, value))


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return buffer.getvalue()


def read(place: Path | str, classes: tuple[str, ...] | None = None, **adapt: object) -> FieldImages:
    return read_field(str(place), parse_params({"adapt": adapt}), DECODE, classes=classes, store=Store())


def test_a_folder_is_read_in_the_order_of_its_names_and_known_by_its_bytes(tmp_path: Path) -> None:
    for name, value in (("b.png", 20), ("a.png", 10), ("deep/er/c.png", 30)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png(grey(value)))
    field = read(tmp_path)
    assert field.pixels[:, 0, 0, 0].tolist() == [10, 20, 30]
    assert field.sha256[0] == hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()
    assert field.labels is None
    assert field.digest == read(tmp_path).digest
    (tmp_path / "a.png").write_bytes(png(grey(11)))
    assert field.digest != read(tmp_path).digest


def test_images_of_another_size_and_colour_are_what_the_device_makes_of_them(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (30, 20), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    field = read(tmp_path)
    assert field.pixels.shape == (1, 3, 8, 8)
    assert (field.pixels[0].numpy() == DECODE((tmp_path / "a.png").read_bytes(), "a.png")).all()


def test_parquet_with_labels(tmp_path: Path) -> None:
    images = [{"bytes": png(grey(value)), "path": None} for value in (1, 2, 3)]
    pq.write_table(pa.table({"image": images, "label": [1, 0, 1]}), tmp_path / "field.parquet")
    field = read(tmp_path / "field.parquet", CLASSES)
    assert field.pixels[:, 0, 0, 0].tolist() == [1, 2, 3]
    assert field.labels is not None
    assert field.labels.tolist() == [1, 0, 1]
    assert read(tmp_path / "field.parquet").labels is None


def test_class_folders_give_labels_by_name(tmp_path: Path) -> None:
    for name in ("dog", "cat"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(png(grey(ord(name[0]))))
    labels = read(tmp_path, CLASSES).labels
    assert labels is not None
    assert labels.tolist() == [0, 1]
    assert read(tmp_path, ("dog", "fox", "cat")).labels.tolist() == [2, 0]  # type: ignore[union-attr]
    with pytest.raises(DataError, match="the labels do not fit: 'dog' is no class of the network, which knows cat"):
        read(tmp_path, ("cat", "fox"))


def test_numbers_beyond_the_classes_do_not_fit(tmp_path: Path) -> None:
    images = [{"bytes": png(grey(value)), "path": None} for value in (1, 2, 3)]
    pq.write_table(pa.table({"image": images, "label": [0, 1, 2]}), tmp_path / "field.parquet")
    with pytest.raises(DataError, match="the labels do not fit: '2' is no class"):
        read(tmp_path / "field.parquet", CLASSES)


def test_what_does_not_decode_is_left_out_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match=r"none of the 1 images can be used; the first: field/a.png does not decode"):
        read(tmp_path)
    (tmp_path / "b.png").write_bytes(png(grey(9)))
    assert read(tmp_path).pixels[:, 0, 0, 0].tolist() == [9]
    assert "1 of 2 images are left out; the first: field/a.png does not decode" in caplog.text


def test_a_place_without_images_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no image"):
        read(tmp_path)
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(DataError, match=r"no known format in field \(notes.txt\)"):
        read(tmp_path)


def test_of_many_images_some_are_drawn_whatever_they_are_called(tmp_path: Path) -> None:
    """Greys are 0 to 79; a second folder has the same images in the opposite order of names."""
    for number in range(80):
        for folder, name in (("first", number), ("second", 79 - number)):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / f"{name:02}.png").write_bytes(png(grey(number)))

    def drawn(folder: str, **adapt: object) -> list[int]:
        greys: list[int] = read(tmp_path / folder, **adapt).pixels[:, 0, 0, 0].tolist()
        return greys

    taken = drawn("first", max_images=40)
    assert taken == sorted(taken), "in the order of their names"
    assert len(set(taken)) == 40
    assert {grey % 2 for grey in taken} == {0, 1}, "two cameras that take turns are both there"
    assert drawn("second", max_images=40) == taken[::-1]
    assert drawn("first", max_images=40, seed=1) != taken
    assert drawn("first", max_images=80) == list(range(80))


def test_copies_count_once_and_are_told_in_a_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(10):
        (tmp_path / f"{number}.png").write_bytes(png(grey(number % 4)))
    field = read(tmp_path)
    assert field.pixels[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert (len(field), len(set(field.sha256)), field.copies) == (4, 4, 6)
    (line,) = (record.getMessage() for record in caplog.records)
    assert line == "6 of 10 images repeat another: each counts once"
    assert len(read(tmp_path, max_images=4)) == 4, "the most are of images that differ"


def test_copies_with_other_labels_say_nothing_and_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, greys in (("cat", (1, 2, 3, 3)), ("dog", (2, 4))):
        (tmp_path / name).mkdir()
        for number, value in enumerate(greys):
            (tmp_path / name / f"{number}.png").write_bytes(png(grey(value)))
    field = read(tmp_path, CLASSES)
    assert field.labels is not None
    assert (field.pixels[:, 0, 0, 0].tolist(), field.labels.tolist()) == ([1, 3, 4], [0, 0, 1])
    assert "1 images are left out: their copies have other labels; the first: field/cat/1.png" in caplog.text
    assert read(tmp_path).pixels[:, 0, 0, 0].tolist() == [1, 2, 3, 4], "without labels nothing contradicts"
    for file in [*tmp_path.glob("cat/[023].png"), tmp_path / "dog/1.png"]:
        file.unlink()
    with pytest.raises(DataError, match="all 1 images that differ have copies with other labels: see which label is"):
        read(tmp_path, CLASSES)
