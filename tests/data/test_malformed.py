"""Damaged files of every kind end in one line that names them: no other error, no crash, no hang.

``EYAS_MUTATIONS`` sets how many of each kind are tried.
"""

import gzip
import io
import itertools
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eyas.data.archives import unpack
from eyas.data.decoding import Preprocessing
from eyas.data.limits import Limits
from eyas.data.partitions import common_classes, list_source, make_partition
from tests.support.image_sources import make_images, write_cifar, write_idx_pair, write_parquet
from tests.support.mutations import attack, mutations

COUNT = int(os.environ.get("EYAS_MUTATIONS", "150"))
LIMITS = Limits(pixels=1_000_000, images=100_000)
PIXELS = make_images(1, 24)[0]
GREY = Image.fromarray(PIXELS[..., 0])


def encoded(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (image or Image.fromarray(PIXELS)).save(buffer, kind, **options)
    return buffer.getvalue()


FRAMES = [Image.fromarray(255 - PIXELS)]
DEEP = Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)
FLOATS = Image.fromarray(PIXELS[..., 0].astype(np.float32) / 255)
EXIF = Image.Exif()
EXIF[0x0112] = 6
IMAGES = {
    "png": encoded("PNG", exif=EXIF),
    "png with a palette": encoded("PNG", GREY.convert("P"), transparency=3),
    "png of 16 bits": encoded("PNG", DEEP),
    "jpeg": encoded("JPEG", exif=EXIF),
    "progressive jpeg": encoded("JPEG", progressive=True),
    "jpeg of four colours": encoded("JPEG", Image.fromarray(PIXELS).convert("CMYK")),
    "gif": encoded("GIF", save_all=True, append_images=FRAMES),
    "bmp": encoded("BMP"),
    "bmp with a palette": encoded("BMP", GREY.convert("P")),
    "tiff": encoded("TIFF", exif=EXIF),
    "tiff by lzw": encoded("TIFF", compression="tiff_lzw"),
    "tiff by deflate": encoded("TIFF", compression="tiff_adobe_deflate"),
    "tiff by jpeg": encoded("TIFF", compression="jpeg"),
    "tiff of floats": encoded("TIFF", FLOATS),
    "webp": encoded("WEBP", exif=EXIF),
    "lossless webp": encoded("WEBP", lossless=True),
    "moving webp": encoded("WEBP", save_all=True, append_images=FRAMES),
    "ppm": encoded("PPM"),
}


def damage(data: bytes, attempt: Callable[[bytes], object], names: str, *, least: float = 0.3) -> None:
    attack(mutations(data, COUNT), attempt, names=names, least=least)


@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_images(kind: str, channels: int) -> None:
    decode = Preprocessing(channels, 8, 10, LIMITS)
    damage(IMAGES[kind], lambda data: decode(data, "a/b.image"), r"^a/b\.image does not decode: ", least=0.1)


def read_everything(root: Path) -> None:
    source = list_source(root, "auto", LIMITS)
    classes = common_classes({"train": source.listing})
    make_partition("train", source, classes, has_test=False)
    rows = source.listing.rows.tolist()
    decode = Preprocessing(3, 8, limits=LIMITS)
    for payload in source.format.read(root / source.listing.files[0], rows):
        decode(payload, source.listing.files[0])


def read_file(path: Path, change: Callable[[bytes], bytes] = bytes) -> Callable[[bytes], None]:
    """Put damaged bytes in the place of a file, then read the folder."""

    def attempt(data: bytes) -> None:
        path.write_bytes(change(data))
        read_everything(path.parent)

    return attempt


LABELS = "^labels are |all images are of one class|has a? ?class|has label"  # what only all files together show


@pytest.mark.parametrize("style", ["struct", "binary", "text"])
def test_parquet(tmp_path: Path, style: str) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(path, make_images(12), [0, 1, 2] * 4, style=style)
    damage(path.read_bytes(), read_file(path), rf"a\.parquet|{LABELS}")


@pytest.mark.parametrize("part", ["images-idx3", "labels-idx1"])
@pytest.mark.parametrize("how", ["plain", "zipped and damaged", "damaged and zipped"])
def test_idx(tmp_path: Path, part: str, how: str) -> None:
    write_idx_pair(tmp_path, make_images(6, 8, 1), [0, 1, 2] * 2)
    path = tmp_path / f"train-{part}-ubyte"
    data, target = path.read_bytes(), path.with_name(f"{path.name}.gz")
    names = rf"train-|{LABELS}"
    if how == "plain":
        damage(data, read_file(path), names, least=0.1)
        return
    path.unlink()
    if how == "damaged and zipped":
        damage(data, read_file(target, gzip.compress), names, least=0.1)
    else:
        damage(gzip.compress(data), read_file(target), names)


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("name", ["data_batch_1", "batches.meta"])
def test_cifar(tmp_path: Path, protocol: int, name: str) -> None:
    write_cifar(tmp_path, make_images(3, 32), [0, 1, 2], protocol=protocol)
    if name == "batches.meta":
        (tmp_path / name).write_bytes(pickle.dumps({b"label_names": [b"a", b"b", "c"]}, protocol))
    damage((tmp_path / name).read_bytes(), read_file(tmp_path / name), rf"{name}|{LABELS}", least=0.1)


def tar_of(members: dict[str, bytes], mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=tarfile.PAX_FORMAT) as bundle:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.pax_headers = len(data), {"comment": "x" * 100}
            bundle.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def zip_of(members: dict[str, bytes], method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as bundle:
        for name, data in members.items():
            bundle.writestr(name, data)
    return buffer.getvalue()


MEMBERS = {"a/1.png": IMAGES["png"], "b/2.png": b"", "é/3.png": b"x" * 600}
ARCHIVES = {
    "x.tar": tar_of(MEMBERS, "w:"),
    "x.tar.gz": tar_of(MEMBERS, "w:gz"),
    "x.tar.bz2": tar_of(MEMBERS, "w:bz2"),
    "x.tar.xz": tar_of(MEMBERS, "w:xz"),
    "x.zip": zip_of(MEMBERS, zipfile.ZIP_DEFLATED),
    "y.zip": zip_of(MEMBERS, zipfile.ZIP_STORED),
}


def unpack_file(path: Path, change: Callable[[bytes], bytes] = bytes) -> Callable[[bytes], object]:
    """Put damaged bytes in the place of an archive, then unpack it."""
    numbers = itertools.count()

    def attempt(data: bytes) -> None:
        path.write_bytes(change(data))
        unpack(path, path.parent / str(next(numbers)))

    return attempt


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives(tmp_path: Path, name: str) -> None:
    damage(ARCHIVES[name], unpack_file(tmp_path / name), f"^{name} ")


def test_a_tar_damaged_before_it_was_zipped(tmp_path: Path) -> None:
    damage(ARCHIVES["x.tar"], unpack_file(tmp_path / "x.tar.gz", gzip.compress), r"^x\.tar\.gz ")
