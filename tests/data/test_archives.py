"""Archives unpack what they hold, and nothing outside of their folder."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from eyas.data.archives import is_archive, unpack
from eyas.errors import DataError


def tar(path: Path, members: list[tarfile.TarInfo], data: bytes = b"data") -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member in members:
            member.size = len(data) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(data) if member.isreg() else None)
    return path


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def test_files_come_out(tmp_path) -> None:
    path = tar(tmp_path / "a.tar.gz", [entry("x", tarfile.DIRTYPE), entry("x/1"), entry("./x/y/2")])
    assert sorted(unpack(path, tmp_path / "out")) == ["x/1", "x/y/2"]
    assert (tmp_path / "out" / "x" / "y" / "2").read_bytes() == b"data"
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as bundle:
        bundle.writestr("p/q", b"zipped")
    assert unpack(tmp_path / "b.zip", tmp_path / "out") == ["p/q"]
    assert (tmp_path / "out" / "p" / "q").read_bytes() == b"zipped"


EVIL = ["../evil", "x/../../evil", "/tmp/evil", "..\\evil", "C:\\evil"]


@pytest.mark.parametrize("name", EVIL)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_nothing_leaves_the_folder(tmp_path, name, kind) -> None:
    path = tmp_path / ("a.tar.gz" if kind == "tar" else "a.zip")
    if kind == "tar":
        tar(path, [entry(name)])
    else:
        with zipfile.ZipFile(path, "w") as bundle:
            bundle.writestr(zipfile.ZipInfo(name), b"data")
    (tmp_path / "in").mkdir()
    with pytest.raises(DataError, match="outside of its folder"):
        unpack(path, tmp_path / "in" / "out")
    assert sorted(item.name for item in tmp_path.rglob("*")) == sorted([path.name, "in"])


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path, kind) -> None:
    path = tar(tmp_path / "a.tgz", [entry("link", kind, "/etc/passwd"), entry("link/x")])
    with pytest.raises(DataError, match="a link or a device"):
        unpack(path, tmp_path / "out")


def test_a_link_in_a_zip_is_refused(tmp_path) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as bundle:
        bundle.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match="a link or a device"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_twice_is_refused(tmp_path) -> None:
    with pytest.raises(DataError, match="holds x twice"):
        unpack(tar(tmp_path / "a.tar.gz", [entry("x"), entry("x")]), tmp_path / "out")


@pytest.mark.parametrize("cut", [10, -20, 0])
def test_a_truncated_archive_is_refused(tmp_path, cut) -> None:
    data = bytes(range(256)) * 40
    path = tar(tmp_path / "a.tar.gz", [entry("x"), entry("y")], data)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match=r"a\.tar\.gz is no complete archive"):
        unpack(path, tmp_path / "out")
    bundle = tmp_path / "b.zip"
    bundle.write_bytes(b"PK\3\4" + data)
    with pytest.raises(DataError, match=r"b\.zip is no complete archive"):
        unpack(bundle, tmp_path / "out")


def test_a_damaged_member_is_refused(tmp_path) -> None:
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as bundle:
        bundle.writestr("x", b"some plain content here")
    data = (tmp_path / "b.zip").read_bytes().replace(b"plain", b"PLAIN")
    (tmp_path / "b.zip").write_bytes(data)
    with pytest.raises(DataError, match="is no complete archive"):
        unpack(tmp_path / "b.zip", tmp_path / "out")


def test_names() -> None:
    assert all(is_archive(name) for name in ("a.tar.gz", "B.ZIP", "c.tgz", "d.tar.xz"))
    assert not any(is_archive(name) for name in ("a.gz", "images-idx3-ubyte.gz", "b.parquet"))
