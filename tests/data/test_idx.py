"""IDX: damaged headers, bodies and archives are refused by name."""

import gzip

import pytest

from eyas.errors import DataError
from tests.data.reading import listed, read_all
from tests.support.image_sources import make_images, write_gzipped_idx_pair, write_idx_pair

IDX_DAMAGE = {
    "another magic number": (lambda data: b"\1\0\x08\3" + data[4:], "is no IDX file"),
    "a body cut short": (lambda data: data[:-5], "should hold"),
    "a body too long": (lambda data: data + b"x", "should hold"),
    "a header cut short": (lambda data: data[:6], "is no IDX file"),
    "an empty file": (lambda data: b"", "is no IDX file"),
}


@pytest.mark.parametrize("damage", IDX_DAMAGE)
@pytest.mark.parametrize("compress", [False, True])
def test_a_damaged_idx_file_is_refused(tmp_path, damage, compress) -> None:
    change, words = IDX_DAMAGE[damage]
    write_idx_pair(tmp_path, make_images(3, 8, 1), [0, 1, 2])
    path = tmp_path / "train-images-idx3-ubyte"
    data = change(path.read_bytes())
    path.unlink()
    target = tmp_path / ("train-images-idx3-ubyte.gz" if compress else path.name)
    target.write_bytes(gzip.compress(data) if compress else data)
    with pytest.raises(DataError, match=words):
        read_all(tmp_path)


def test_a_broken_gzip_is_refused(tmp_path) -> None:
    write_gzipped_idx_pair(tmp_path, make_images(3, 8, 1), [0, 1, 2])
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="labels-idx1-ubyte.gz"):
        listed(tmp_path)


def test_idx_needs_both_files_of_the_same_length(tmp_path) -> None:
    write_idx_pair(tmp_path, make_images(3, 8, 1), [0, 1])
    with pytest.raises(DataError, match="holds 3 images but"):
        listed(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="has no labels file"):
        listed(tmp_path)
