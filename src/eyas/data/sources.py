"""From an address to files in a folder."""

import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath

from eyas.data.archives import is_archive, unpack
from eyas.data.builtin import write_builtin
from eyas.data.limits import DEFAULT_LIMITS, Limits
from eyas.data.manifest import file_record, list_files
from eyas.errors import ChecksumError, DataError

Download = Callable[[str, Path], None]
"""Puts the file, or all files below a prefix, at an address into a folder."""
BUILTIN = "builtin:"


def fetch_files(
    address: str, folder: Path, download: Download, sha256: Mapping[str, str], limits: Limits = DEFAULT_LIMITS
) -> set[str]:
    """Bring a source's files into the new ``folder``, check their digests, unpack archives.

    ``sha256`` gives expected digests (or their first digits) by file name; the names that were checked are returned.

    Raises:
        DataError: nothing is there, or an archive is damaged or unpacks to more than ``limits`` allow.
        ChecksumError: a file differs from its digest.
    """
    folder.mkdir(parents=True)
    if address.startswith(BUILTIN):
        write_builtin(address.removeprefix(BUILTIN), folder)
    else:
        download(address, folder)
    names = list(list_files(folder))
    checked = {name for file in names for name in check_digest(folder / file, file, sha256)}
    for name in names:
        if is_archive(name):
            _unpack_in_place(folder / name, limits)
    return checked


def check_digest(path: Path, name: str, sha256: Mapping[str, str]) -> Iterable[str]:
    """Compare a file with the digests given for its name or its path; returns the names that matched.

    Raises:
        ChecksumError: it differs.
    """
    keys = {name, PurePosixPath(name).name} & set(sha256)
    for key in keys:
        digest = file_record(path).sha256
        if not digest.startswith(sha256[key]):
            msg = f"{name} has sha256 {digest}, expected {sha256[key]} (`sha256`): another or a damaged file"
            raise ChecksumError(msg)
    return keys


def check_all_used(sha256: Mapping[str, str], checked: set[str]) -> None:
    """Every name with a digest must have been checked: a misspelt one would check nothing.

    Raises:
        DataError: a name belongs to no file.
    """
    unknown = sorted(set(sha256) - checked)
    if unknown:
        msg = f"`sha256` names {unknown[0]!r}, but the sources hold no such file"
        raise DataError(msg)


def _unpack_in_place(archive: Path, limits: Limits) -> None:
    """Replace an archive by its content."""
    target = archive.with_name(archive.name + ".unpacked")
    target.mkdir()
    unpack(archive, target, limits)
    archive.unlink()
    for item in target.iterdir():
        destination = archive.parent / item.name
        if destination.exists():
            msg = f"{archive.name} holds {item.name}, which stands beside it already"
            raise DataError(msg)
        shutil.move(item, destination)
    target.rmdir()
