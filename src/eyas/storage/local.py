"""Files and folders on this machine."""

import glob
import os
import shutil
from pathlib import Path

from eyas.errors import DataError


def copy_into(address: str, folder: Path) -> None:
    """Copy a file, all files of a folder, or those that a pattern matches, into ``folder``.

    Raises:
        DataError: nothing is there.
    """
    source = Path(address)
    if source.is_dir():
        shutil.copytree(source, folder, dirs_exist_ok=True, copy_function=_copy)
        return
    files = [source] if source.is_file() else [Path(name) for name in sorted(glob.glob(address))]
    if not files:
        msg = f"{address} does not exist: give a file, a folder, or a pattern that matches files"
        raise DataError(msg)
    for file in files:
        _copy(os.fspath(file), os.fspath(folder / file.name))


def _copy(source: str, target: str) -> None:
    """Copy the content alone: modes and times of the source mean nothing here."""
    shutil.copyfile(source, target)
