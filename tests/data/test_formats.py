"""Every format gives the same images and labels, and refuses what it cannot read by name."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from eyas.data.decoding import Preprocessing
from eyas.data.formats import Format, detect
from eyas.errors import DataError, ParameterError
from tests.data.reading import listed
from tests.support.image_sources import (
    CLASSES,
    make_images,
    write_cifar,
    write_folder,
    write_gzipped_idx_pair,
    write_idx_pair,
    write_parquet,
)

LABELS = [0, 1, 2] * 7


WRITERS: dict[str, tuple[str, int, int, Callable[..., Any]]] = {
    "folder": ("folder", 8, 3, write_folder),
    "nested folder": ("folder", 8, 3, lambda root, *rest: write_folder(root, *rest, prefix="set/images")),
    "parquet of structs": ("parquet", 8, 3, lambda root, *rest: write_parquet(root / "a.parquet", *rest)),
    "parquet of bytes": ("parquet", 8, 3, lambda root, *rest: write_parquet(root / "a.parquet", *rest, style="binary")),
    "parquet of texts": ("parquet", 8, 3, lambda root, *rest: write_parquet(root / "a.parquet", *rest, style="text")),
    "idx": ("idx", 8, 1, write_idx_pair),
    "idx.gz": ("idx", 8, 1, write_gzipped_idx_pair),
    "cifar": ("cifar", 32, 3, write_cifar),
    "cifar, protocol 4": ("cifar", 32, 3, lambda root, *rest: write_cifar(root, *rest, protocol=4)),
}


KINDS = sorted(Format.registry)
OTHER_TASKS = {kind for kind, member in Format.members().items() if member.task != "classification"}
WITHOUT_WRITER = sorted(
    set(KINDS) - OTHER_TASKS - {kind for kind, *_ in WRITERS.values()}
)  # bring an example themselves
WRITERS |= {kind: (kind, 8, 3, Format.parse(kind).write_example) for kind in WITHOUT_WRITER}


@pytest.mark.parametrize("kind", KINDS)
def test_a_named_format_that_is_not_there(tmp_path, kind) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match="expected"):
        listed(tmp_path, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_no_image_are_nobodys_and_the_message_names_every_format(kind) -> None:
    member = Format.members()[kind]
    assert not member.recognises([])
    assert not member.recognises(["notes.txt", "folder/README.md"])
    with pytest.raises(DataError) as caught:
        detect(["notes.txt"], "here", member.task)
    assert (member.expects or kind) in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_options_survive_json(kind) -> None:
    member = Format.parse(kind)
    assert Format.parse(member.model_dump(mode="json")) == member


@pytest.mark.parametrize("name", WRITERS)
def test_what_was_written_is_read(tmp_path, name) -> None:
    kind, size, channels, write = WRITERS[name]
    images = make_images(len(LABELS), size, channels)
    write(tmp_path, images, LABELS)
    member, listing = listed(tmp_path)
    assert member.kind == kind
    assert listing.classes == (CLASSES if kind not in {"idx", *WITHOUT_WRITER} else ("0", "1", "2"))
    assert sorted(listing.labels.tolist()) == sorted(LABELS)
    decode = Preprocessing(channels, size)
    wanted = {pixels.tobytes(): label for pixels, label in zip(images, LABELS, strict=True)}
    for at, label in enumerate(listing.labels.tolist()):
        path = tmp_path / listing.files[listing.file_indices[at]]
        (payload,) = member.read(path, [int(listing.rows[at])])
        pixels = decode(payload, "image").transpose(1, 2, 0)
        assert wanted.pop(np.ascontiguousarray(pixels).tobytes()) == label
    assert not wanted


@pytest.mark.parametrize("name", WRITERS)
def test_rows_are_read_in_any_selection(tmp_path, name) -> None:
    _, size, channels, write = WRITERS[name]
    write(tmp_path, make_images(len(LABELS), size, channels), LABELS)
    member, listing = listed(tmp_path)
    if (listing.rows < 0).any():
        pytest.skip("a file of this format is one image")
    path = tmp_path / listing.files[0]
    decode = Preprocessing(channels, size)
    every = [decode(payload, "x") for payload in member.read(path, range(len(LABELS)))]
    chosen = [0, 6, 7, 13, 20]  # both sides of the row groups' borders
    for row, payload in zip(chosen, member.read(path, chosen), strict=True):
        assert_array_equal(decode(payload, "x"), every[row])


def test_a_stray_file_beside_class_folders_is_named(tmp_path) -> None:
    write_folder(tmp_path, make_images(3), [0, 1, 2])
    (tmp_path / "stray.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"stray\.png lies beside the class folders"):
        listed(tmp_path)


def test_a_class_folder_may_be_called_train_when_it_is_one_of_many(tmp_path) -> None:
    for name in ("train", "tram"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_bytes(b"x")
    assert listed(tmp_path)[1].classes == ("train", "tram")


def test_unknown_files_say_what_is_known(tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match=r"notes\.txt.*Parquet.*IDX.*CIFAR"):
        listed(tmp_path)
    with pytest.raises(ParameterError, match="cifar, folder, idx, images, masks, parquet"):
        Format.parse("tfrecord")


def test_the_most_telling_format_is_asked_first() -> None:
    files = ["cat/1.png", "train", "images-idx3-ubyte", "a.parquet"]
    assert [detect(files[:count], "here").kind for count in (1, 2, 3, 4)] == ["folder", "cifar", "idx", "parquet"]
