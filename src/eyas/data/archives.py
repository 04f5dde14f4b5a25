"""Archives, unpacked so that no member lands outside its folder."""

import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from eyas.errors import DataError
from eyas.storage.local_files import safe_name

_TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
SUFFIXES = (*_TAR, ".zip")


def is_archive(name: str) -> bool:
    """Whether a file name ends as archives do."""
    return name.lower().endswith(SUFFIXES)


def unpack(archive: Path, folder: Path) -> list[str]:
    """Write all files of an archive below ``folder``; returns their names.

    Raises:
        DataError: the archive is damaged, a member is a link or a device, stands twice, or points outside.
    """
    members = _zip_members if archive.name.lower().endswith(".zip") else _tar_members
    written: list[str] = []
    try:
        for name, stream in members(archive):
            target = folder / _safe(name, archive)
            if target.exists():
                msg = f"{archive.name} holds {name} twice"
                raise DataError(msg)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as out:
                shutil.copyfileobj(stream, out, 1 << 20)
            written.append(target.relative_to(folder).as_posix())
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        msg = f"{archive.name} is no complete archive: {error}"
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


def _tar_members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isdir():
                continue
            stream = tar.extractfile(member) if member.isreg() else None
            if stream is None:
                raise _refuse(archive, member.name, "a link or a device")
            yield member.name, stream
        while tar.fileobj is not None and tar.fileobj.read(1 << 20):  # the rest: a compressed stream cut short says so
            pass


def _zip_members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as bundle:
        for member in bundle.infolist():
            if member.is_dir():
                continue
            kind = member.external_attr >> 16 & 0o170000
            if kind not in (0, 0o100000):
                raise _refuse(archive, member.filename, "a link or a device")
            with bundle.open(member) as stream:
                yield member.filename, stream
