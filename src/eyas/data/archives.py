"""Archives, unpacked so that no member lands outside its folder."""

import bz2
import errno
import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from eyas.data.limits import DEFAULT_LIMITS, Limits
from eyas.errors import DataError, one_line
from eyas.storage.local_files import safe_name

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
_OPENERS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})  # zipfile unpacks the others at once, however large
_DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError),
    *(RuntimeError, NotImplementedError, ValueError, OverflowError, LookupError),
)
_NAMED_TWICE = (FileExistsError, NotADirectoryError, IsADirectoryError)
_CHUNK = 1 << 20  # bytes in memory at a time
_LARGEST_HEADER = 1 << 24  # bytes that a tar may spend on the name and the attributes of one file


def is_archive(name: str) -> bool:
    """Whether a file name ends as archives do."""
    return name.lower().endswith(SUFFIXES)


def unpack(archive: Path, folder: Path, limits: Limits = DEFAULT_LIMITS) -> list[str]:
    """Write all files of an archive below ``folder``; returns their names.

    Raises:
        DataError: the archive is damaged, a member is a link or a device, stands twice, or points outside, or the
            archive unpacks to more than ``limits`` allow.
    """
    is_zip = archive.name.lower().endswith(".zip")
    packed, size, written = archive.stat().st_size, 0, list[str]()
    try:
        for name, stream in _zip_members(archive, limits) if is_zip else _tar_members(archive):
            target = folder / _safe(name, archive)
            if target.exists():
                msg = f"{archive.name} holds {name} twice"
                raise DataError(msg)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as out:
                while chunk := stream.read(_CHUNK):
                    size += len(chunk)
                    limits.check_unpacked(size, packed, archive.name)
                    out.write(chunk)
            written.append(target.relative_to(folder).as_posix())
    except DataError:
        raise
    except _NAMED_TWICE as error:
        msg = f"{archive.name} holds a file and a folder of one name, {name}"
        raise DataError(msg) from error
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno not in {None, errno.EINVAL}:  # of the disk, not of what is read
            raise
        msg = f"{archive.name} is no complete archive: {one_line(error)}"
        raise DataError(msg) from error
    return written


def _safe(name: str, archive: Path) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or not path.name or ":" in path.parts[0]:
        msg = f"{archive.name} holds {name!r}, which would be written outside of its folder: not unpacked"
        raise DataError(msg)
    safe_name(path.as_posix(), archive.name)
    return path


def _refuse(archive: Path, name: str, what: str) -> DataError:
    return DataError(f"{archive.name} holds {name!r}, {what}: only files and folders are unpacked")


class _BoundedReads:
    """A file that tarfile reads from: what it takes for a name in one go is bounded."""

    def __init__(self, file: Any) -> None:
        self.seek, self.tell, self._read = file.seek, file.tell, file.read

    def read(self, size: int) -> bytes:
        if size > _LARGEST_HEADER:
            msg = f"a header of {size} bytes, more than {_LARGEST_HEADER}"
            raise tarfile.ReadError(msg)
        data: bytes = self._read(size)
        return data


def _tar_members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with archive.open("rb") as raw:
        start = raw.read(6)
    opener = next((opener for magic, opener in _OPENERS.items() if start.startswith(magic)), open)
    with opener(archive, "rb") as file, tarfile.TarFile(fileobj=cast("Any", _BoundedReads(file))) as tar:
        for member in tar:
            if member.isdir():
                continue
            stream = tar.extractfile(member) if member.isreg() else None
            if stream is None:
                raise _refuse(archive, member.name, "a link or a device")
            yield member.name, stream
        while file.read(_CHUNK):  # the rest: a compressed stream cut short says so
            pass


def _zip_members(archive: Path, limits: Limits) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as bundle:
        members = bundle.infolist()
        limits.check_unpacked(sum(member.file_size for member in members), archive.stat().st_size, archive.name)
        for member in members:
            if member.is_dir():
                continue
            kind = member.external_attr >> 16 & 0o170000
            if kind not in (0, 0o100000):
                raise _refuse(archive, member.filename, "a link or a device")
            if member.compress_type not in _METHODS:
                msg = f"{archive.name} is packed by method {member.compress_type}: pack it by deflate, as zip does"
                raise DataError(msg)
            with bundle.open(member) as stream:
                yield member.filename, stream
