"""Files and folders on this machine; and how any file gets its place at once or not at all."""

import glob
import os
import shutil
import uuid
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from eyas.errors import ChecksumError, DataError, ParameterError
from eyas.storage.addresses import Entry
from eyas.storage.digests import file_sha256

LONGEST_NAME = 255  # bytes between two slashes, on every file system in use


def find(address: str) -> list[Path]:
    """The file at a path, or the files that a pattern matches.

    Raises:
        DataError: there is none.
    """
    path = Path(address)
    if path.exists() and not path.is_file():
        raise _no_file(path, "is no regular file")
    files = [path] if path.is_file() else [Path(name) for name in sorted(glob.glob(address)) if Path(name).is_file()]
    if not files:
        msg = f"{address} does not exist: give a file, a folder, or a pattern that matches files"
        raise DataError(msg)
    return files


def one_file(address: str) -> Path:
    """The file at a path.

    Raises:
        DataError: it does not exist, or is a folder.
    """
    path = Path(address)
    if path.is_file():
        return path
    msg = f"{address} {'is a folder' if path.is_dir() else 'does not exist'}: a file is expected here"
    raise DataError(msg)


def require_place(path: Path, option: str) -> None:
    """Where a file shall be written, one can be: asked before any work; its folder is made.

    Raises:
        ParameterError: it is a folder, or nothing can be written there; names the ``option`` that asked for it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"{option} {path}: its folder cannot be made: {error.strerror}"
        raise ParameterError(msg) from error
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        msg = f"{option} {path}: {'is a folder' if path.is_dir() else 'no permission to write there'}; name a file"
        raise ParameterError(msg)


def require_folder(path: Path, option: str) -> None:
    """Where files shall be written, they can be; the folder is made.

    Raises:
        ParameterError: it cannot be made, or nothing can be written there; names the ``option`` that asked for it.
    """
    require_place(path / "file", option)


def copy_into(address: str, folder: Path, names: Container[str] | None = None) -> None:
    """Copy a file, all files of a folder, or those that a pattern matches, into ``folder``; of these ``names`` alone.

    Raises:
        DataError: nothing is there, or ``folder`` is inside of what is there.
    """
    require_apart(address, folder)
    source = Path(address)
    files = list(walk(source)) if source.is_dir() else [(file.name, file) for file in find(address)]
    for place in {file.parent for _, file in files if source.is_dir()}:
        require_apart(str(place), folder)
    for name, file in files:
        if names is not None and name not in names:
            continue
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)  # the content alone: modes and times of the source mean nothing here


def require_apart(address: str, folder: Path) -> None:
    """What is copied into ``folder`` must not hold it: it would be copied into itself.

    Raises:
        DataError: it does.
    """
    source = Path(address).resolve()
    if folder.resolve().is_relative_to(source):
        msg = f"{address} ({source}) holds {folder.resolve()}, where its copy would go: give a folder of data alone"
        raise DataError(msg)


def walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """(relative name, path) of all files below a folder, sorted; links are followed.

    Raises:
        DataError: a link leads nowhere or back to a folder above it, something is no regular file (a pipe, a device),
            cannot be read, or has a name that is not UTF-8.
    """
    for place, folders, names in os.walk(folder, followlinks=True, onerror=_refuse_unread):
        folders.sort()
        for name in folders:
            _refuse_loop(Path(place, name))
        for name in sorted(names):
            path = Path(place, name)
            relative = safe_name(path.relative_to(folder).as_posix(), folder)
            if not path.is_file():
                raise _no_file(path, "is no regular file" if path.exists() else "is a link that leads nowhere")
            yield relative, path


def _refuse_unread(error: OSError) -> None:
    raise _no_file(error.filename, f"cannot be read ({error.strerror})") from error


def _refuse_loop(path: Path) -> None:
    """A link to a folder that it lies in would be followed for ever."""
    if path.is_symlink() and path.parent.resolve().is_relative_to(target := path.resolve()):
        raise _no_file(path, f"is a link back to {target}, which it lies in")


def _no_file(path: object, fault: str) -> DataError:
    shown = os.fsencode(str(path)).decode(errors="backslashreplace")
    return DataError(f"{shown} {fault}: only files can be brought; remove it, or give another source")


def entries(address: str) -> Iterator[Entry]:
    """All files below a folder, or the file itself; a version is size and time of the last change."""
    root = Path(address)
    files = sorted(walk(root)) if root.is_dir() else [(path.name, path) for path in find(address)]
    for name, path in files:
        state = path.stat()
        yield Entry(name, state.st_size, str(state.st_mtime_ns), state.st_mtime)


@contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """A path to write to that becomes ``target`` when all went well, so that ``target`` is whole or absent."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        yield partial
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def link(source: Path, target: Path) -> None:
    """A second name for a file, or a copy of it where the file system cannot."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    with suppress(OSError):
        os.link(source, target)
        return
    shutil.copyfile(source, target)


def check(path: Path, name: str, sha256: str | None) -> str:
    """The SHA-256 of a file, compared with the expected one (or its first digits).

    Raises:
        ChecksumError: they differ; ``name`` says of what.
    """
    actual = file_sha256(path)
    if sha256 is not None and not actual.startswith(sha256.lower()):
        msg = f"{name} has sha256 {actual}, expected {sha256}: another or a damaged file"
        raise ChecksumError(msg)
    return actual


def safe_name(name: str, where: object) -> str:
    """A relative name that stays inside its folder and that any file system takes.

    Raises:
        DataError: it would not, is not UTF-8, or is too long.
    """
    try:
        encoded = name.encode()
    except UnicodeEncodeError as error:
        msg = f"{where} holds a file whose name is not UTF-8 ({os.fsencode(name)!r}): rename it"
        raise DataError(msg) from error
    if max(map(len, encoded.split(b"/"))) > LONGEST_NAME:
        msg = f"{where} holds a file whose name has more than {LONGEST_NAME} bytes ({name[:40]!r} ...): rename it"
        raise DataError(msg)
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or not path.name:
        msg = f"{where} holds {name!r}, which would be written outside of its folder: refused"
        raise DataError(msg)
    return name
