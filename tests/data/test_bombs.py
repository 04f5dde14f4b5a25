"""Small files that would fill the memory or the disk are refused by their limit, before either is taken.

Each is tried in a process of its own, whose largest memory is measured.
"""

import gzip
import io
import json
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from eyas.data.archives import unpack
from eyas.data.decoding import Preprocessing
from eyas.data.formats.parquet_sizes import column_sizes
from eyas.data.limits import Limits
from eyas.data.partitions import list_source
from eyas.errors import DataError
from tests.data.reading import listed
from tests.support.image_sources import make_images, png, write_idx_pair, write_parquet

MEGABYTE = 2**20
ZEROS = bytes(MEGABYTE)


def write_zip(root: Path) -> None:
    with zipfile.ZipFile(root / "a.zip", "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("a/1.png", bytes(400 * MEGABYTE))


def write_tar(root: Path) -> None:
    with tarfile.open(root / "a.tar.gz", "w:gz") as bundle:
        entry = tarfile.TarInfo("a/1.png")
        entry.size = 400 * MEGABYTE
        bundle.addfile(entry, io.BytesIO(bytes(entry.size)))


def write_tar_of_a_name(root: Path) -> None:
    """A member whose name is said to have 400 MB."""
    entry = tarfile.TarInfo("x")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 400 * MEGABYTE
    with gzip.open(root / "a.tar.gz", "wb") as file:
        file.write(entry.tobuf(tarfile.GNU_FORMAT))
        for _ in range(400):
            file.write(ZEROS)


def write_sparse_tar(root: Path) -> None:
    """A file of holes: 2 KB that say that they are 8 GB."""
    entry = tarfile.TarInfo("a/1.png")
    entry.type, entry.size = tarfile.GNUTYPE_SPARSE, 0
    head = bytearray(entry.tobuf(tarfile.GNU_FORMAT))
    head[386:410] = b"00000000000\0" * 2
    head[483:495] = b"77777777777\0"
    head[148:156] = b" " * 8
    head[148:156] = f"{sum(head):06o}\0 ".encode()
    (root / "a.tar").write_bytes(bytes(head) + bytes(1024))


def write_idx(root: Path) -> None:
    write_idx_pair(root, make_images(3, 8, 1), [0, 1, 2])
    (root / "train-images-idx3-ubyte").unlink()
    with gzip.open(root / "train-images-idx3-ubyte.gz", "wb") as file:
        file.write(struct.pack(">4I", 0x803, 3, 2**15, 2**15))
        file.write(ZEROS)


def write_idx_that_goes_on(root: Path) -> None:
    """400 MB behind what the header says."""
    write_idx_pair(root, make_images(3, 8, 1), [0, 1, 2])
    path = root / "train-images-idx3-ubyte"
    with gzip.open(root / f"{path.name}.gz", "wb") as file:
        file.write(path.read_bytes())
        for _ in range(400):
            file.write(ZEROS)
    path.unlink()


def write_table(root: Path) -> None:
    cells = {"image": [bytes(2**19)] * 600, "label": ["x", "y"] * 300}
    pq.write_table(pa.table(cells), root / "a.parquet", compression="zstd", use_dictionary=False)


def write_table_that_lies(root: Path) -> None:
    """As before, and the footer says that the pages are small."""
    write_table(root)
    path = root / "a.parquet"
    data = path.read_bytes()
    size = sum(column_sizes(io.BytesIO(data), ["image"], walk=False))
    number, value = b"", 2 * size
    while value:
        number, value = number + bytes([value & 127 | (128 if value > 127 else 0)]), value >> 7
    assert data.count(number) == 1
    small = bytes([128 | 2, *[128] * (len(number) - 2), 0])  # 1, in as many bytes
    path.write_bytes(data.replace(number, small))
    assert sum(column_sizes(io.BytesIO(path.read_bytes()), ["image"], walk=False)) == 1


def write_rows(root: Path) -> None:
    """50 million rows in a few kilobytes."""
    rows = 50_000_000
    image = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), pa.array([png(make_images(1)[0])]))
    pq.write_table(pa.table({"image": image, "label": np.zeros(rows, np.int8)}), root / "a.parquet", store_schema=False)


def write_labels(root: Path) -> None:
    images = [png(pixels) for pixels in make_images(2)]
    pq.write_table(pa.table({"image": images, "label": [0, 200_000_000]}), root / "a.parquet")


def write_pickle(root: Path) -> None:
    """Twelve bytes that put a value at place 2^28 of the memo."""
    (root / "data_batch_1").write_bytes(b"\x80\x02]r\xff\xff\xff\x0f.")


def write_pickle_of_copies(root: Path) -> None:
    """One text of 1 MB that is asked for as bytes a thousand times."""
    text = b"X" + struct.pack("<I", MEGABYTE) + b"a" * MEGABYTE + b"q\0"
    call = b"c_codecs\nencode\nq\1" + b"h\1h\0\x85R" * 1000
    (root / "data_batch_1").write_bytes(b"\x80\x02(" + text + call + b"l.")


def write_pickle_of_tuples(root: Path) -> None:
    """A key that ends the process where it is hashed."""
    (root / "data_batch_1").write_bytes(b"\x80\x02})" + b"\x85" * 1_000_000 + b"K\1s.")


def write_png(root: Path, width: int = 30_000, height: int = 30_000) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0))
    (root / "a").mkdir()
    (root / "a" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(ZEROS)))


def write_tiff(root: Path) -> None:
    write_image(root, "TIFF", b"\x04\0\1\0\0\0\x08\0\0\0", b"\x04\0\1\0\0\0\0\x80\0\0")


def write_gif(root: Path) -> None:
    write_image(root, "GIF", b"\x08\x00\x08\x00", b"\xff\xff\xff\xff")


def write_bmp(root: Path) -> None:
    write_image(root, "BMP", b"\x08\0\0\0\x08\0\0\0", b"\xff\xff\0\0\xff\xff\0\0")


def write_image(root: Path, kind: str, size: bytes, larger: bytes) -> None:
    buffer = io.BytesIO()
    Image.fromarray(make_images(1)[0][..., 0]).save(buffer, kind)
    (root / "a").mkdir()
    (root / "a" / f"1.{kind.lower()}").write_bytes(buffer.getvalue().replace(size, larger))


def write_strip(root: Path) -> None:
    """One pixel high: its shorter edge as long as the network wants makes it large."""
    (root / "a").mkdir()
    Image.new("L", (10_000_000, 1)).save(root / "a" / "1.png")


BOMBS: dict[str, tuple[Callable[[Path], None], str]] = {
    "zip": (write_zip, "unpacked_ratio"),
    "tar": (write_tar, "unpacked_ratio"),
    "tar, its name": (write_tar_of_a_name, "a header of"),
    "tar, sparse": (write_sparse_tar, "unpacked_ratio"),
    "idx": (write_idx, "unpacked_ratio"),
    "idx that goes on": (write_idx_that_goes_on, "should hold 192 bytes"),
    "parquet": (write_table, "unpacked_ratio"),
    "parquet that lies": (write_table_that_lies, "unpacked_ratio"),
    "parquet, rows": (write_rows, "`images`"),
    "parquet, a label": (write_labels, "`classes`"),
    "pickle, its memo": (write_pickle, "holds a list"),
    "pickle, copies": (write_pickle_of_copies, "more bytes than the file has"),
    "pickle, tuples": (write_pickle_of_tuples, "a key of type tuple"),
    "png": (write_png, "`pixels`"),
    "tiff": (write_tiff, "`pixels`"),
    "gif": (write_gif, "`pixels`"),
    "bmp": (write_bmp, "`pixels`"),
    "strip": (write_strip, "`pixels`"),
}

TRY = """
import json, os, resource, sys
from pathlib import Path
from eyas.data.decoding import Preprocessing
from eyas.data.partitions import list_source
from eyas.data.sources import fetch_files
from eyas.errors import EyasError
from eyas.storage import Store

def fetch(root, out):
    fetch_files(str(root), out, Store(state=out.with_name("state")).bring, {})
    source = list_source(out, "auto")
    for payload in source.format.read(out / source.listing.files[0], source.listing.rows[:1].tolist()):
        Preprocessing(3, 64, 64)(payload, "a/1")

def attempt(folder):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    message = "not refused"
    try:
        fetch(folder / "source", folder / "out")
    except EyasError as error:
        message = str(error)
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps([folder.name, message, kilobytes // 1024]), flush=True)

for folder in sys.argv[1:]:
    process = os.fork()
    if not process:
        attempt(Path(folder))
        os._exit(0)
    os.waitpid(process, 0)
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, int]]:
    """Message and megabytes of every bomb; a process that ended before it could say so has none."""
    folder = tmp_path_factory.mktemp("bombs")
    for name, (write, _) in BOMBS.items():
        (folder / name / "source").mkdir(parents=True)
        write(folder / name / "source")
    command = [sys.executable, "-c", TRY, *(str(folder / name) for name in BOMBS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=280)
    return {name: (message, megabytes) for name, message, megabytes in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_in_one_line_and_little_memory(outcomes: dict[str, tuple[str, int]], name: str) -> None:
    message, megabytes = outcomes[name]
    assert BOMBS[name][1] in message
    assert len(message.splitlines()) == 1
    assert megabytes < 150


HONEST = Limits()


def test_what_people_have_stays_below_the_limits() -> None:
    HONEST.check_images(1_281_167, 138 * 2**30, 137 * 2**30, "ImageNet")
    HONEST.check_images(14_197_122, 2**40, 2**40, "ImageNet-21k")
    HONEST.check_images(60_000, 47_040_016, 9_912_422, "MNIST")
    HONEST.check_images(50_000, 150 * MEGABYTE, 170 * MEGABYTE, "CIFAR-100")
    HONEST.check_pixels(11_648, 8_736)  # 102 megapixels
    HONEST.check_pixels(16_320, 12_240)  # a telephone's 200
    HONEST.check_classes(21_843, "ImageNet-21k")


def test_a_raised_limit_lets_more_through(tmp_path: Path) -> None:
    write_png(tmp_path, 1000, 300)
    data = (tmp_path / "a" / "1.png").read_bytes()
    with pytest.raises(DataError, match=r"1000 x 300 are 300000 pixels, more than `pixels` allows \(299999\)"):
        Preprocessing(1, 8, limits=Limits(pixels=299_999))(data, "x")
    assert Preprocessing(1, 8, limits=Limits(pixels=300_000))(data, "x").shape == (1, 8, 8)
    write_labels(tmp_path)
    (tmp_path / "b").mkdir()
    write_parquet(tmp_path / "b" / "a.parquet", make_images(6), [0, 1, 2] * 2, style="text")
    with pytest.raises(DataError, match="3 classes, more than `classes` allows"):
        list_source(tmp_path / "b", "auto", Limits(classes=2))
    with pytest.raises(DataError, match="holds 6 images, more than `images` allows"):
        list_source(tmp_path / "b", "auto", Limits(images=5))
    assert len(listed(tmp_path / "b")[1].labels) == 6
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as bundle:
        bundle.writestr("x", b"12345")
    with pytest.raises(DataError, match="unpacks to 5 bytes, more than `unpacked_bytes` allows"):
        unpack(tmp_path / "a.zip", tmp_path / "out", Limits(unpacked_bytes=4))
    assert unpack(tmp_path / "a.zip", tmp_path / "out2", Limits(unpacked_bytes=5)) == ["x"]


def test_images_larger_than_pillows_own_limit_are_the_users_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    pixels = make_images(1, 16)[0]
    assert Preprocessing(3, 16)(png(pixels), "x").shape == (3, 16, 16)
    assert Image.MAX_IMAGE_PIXELS == 10


def test_a_zip_packed_in_another_way_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_BZIP2) as bundle:
        bundle.writestr("x", ZEROS)
    with pytest.raises(DataError, match=r"a\.zip is packed by method 12: pack it by deflate"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
