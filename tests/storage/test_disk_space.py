"""A full disk is told in one line, whatever library met it and however it says so."""

import errno
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from eyas.storage import disk_space
from eyas.storage.disk_space import describe_full_disk, fullest

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")


def plain(place: Path) -> None:
    place.write_text("x")


def parquet(place: Path) -> None:
    pq.write_table(pa.table({"a": list(range(100_000))}), place)


def checkpoint(place: Path) -> None:
    with place.open("wb") as file:
        torch.save({"a": torch.rand(100_000)}, file)


def checkpoint_by_name(place: Path) -> None:
    torch.save({"a": torch.rand(100_000)}, place)


@needs_full
@pytest.mark.parametrize("write", [plain, parquet, checkpoint, checkpoint_by_name])
def test_what_writers_raise_on_a_full_disk_is_known(write: Callable[[Path], None], tmp_path: Path) -> None:
    place = tmp_path / "file"  # pyarrow removes what it could not write
    place.symlink_to(FULL)
    with pytest.raises((OSError, RuntimeError)) as raised:
        write(place)
    told = describe_full_disk(raised.value)
    assert told is not None
    assert "\n" not in told
    assert "MB are free there" in told


@pytest.mark.parametrize("writer", ["safetensors", "sqlite", "plain"])
def test_a_limit_on_files_is_one_too(writer: str, tmp_path: Path) -> None:
    """In a process of its own, which may write 64 kB to a file."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
        "from pathlib import Path\n"
        "from tests.storage.test_disk_space import WRITERS\n"
        "from eyas.storage.disk_space import describe_full_disk\n"
        "try:\n    WRITERS[sys.argv[1]](Path(sys.argv[2]))\n"
        "except Exception as error:\n    print(describe_full_disk(error) or repr(error))\n"
    )
    command = [sys.executable, "-c", code, writer, str(tmp_path / "file")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1
    assert "MB are free there: make room and repeat this" in done.stdout


def safetensors(place: Path) -> None:
    save_file({"a": torch.rand(100_000)}, place)


def sqlite(place: Path) -> None:
    with sqlite3.connect(place) as connection:
        connection.execute("create table a (b)")
        connection.execute("pragma max_page_count = 20")
        connection.executemany("insert into a values (?)", [("x" * 1000,)] * 1000)


def long(place: Path) -> None:
    place.write_bytes(bytes(100_000))


WRITERS = {"safetensors": safetensors, "sqlite": sqlite, "plain": long}


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "{}/a/b.parquet"),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), "{}/a/b.parquet"),
        RuntimeError("ERROR: unexpected error - [Errno 28] No space left on device: '{}/a/b.parquet'"),
    ],
    ids=["full", "quota", "as DVC prints it"],
)
def test_the_folder_is_the_one_that_was_written_to(error: Exception, tmp_path: Path) -> None:
    error = (
        OSError(error.errno, error.strerror, error.filename.format(tmp_path))
        if isinstance(error, OSError)
        else RuntimeError(str(error).format(tmp_path))
    )
    assert (describe_full_disk(error) or "").startswith(f"{tmp_path}: ")


def test_without_a_name_it_is_the_fullest_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_space, "places", lambda: [Path("/"), tmp_path])
    monkeypatch.setattr(
        disk_space.shutil, "disk_usage", lambda folder: Usage(3_000_000 if folder == tmp_path else 10**9)
    )
    assert fullest(disk_space.places()) == tmp_path
    cause = RuntimeError("(sqlite3.OperationalError) database or disk is full")
    told = describe_full_disk(wrapped(cause))
    assert told == f"{tmp_path}: database or disk is full, 3.0 MB are free there: make room and repeat this"


class Usage:
    def __init__(self, free: int) -> None:
        self.free = free


def wrapped(cause: Exception) -> Exception:
    """As a library does: another error, raised from it."""
    try:
        try:
            raise cause
        except RuntimeError as error:
            raise ValueError("INTERNAL_ERROR") from error
    except ValueError as error:
        return error


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "denied", "/x"), ValueError("a full moon"), KeyError("disk")])
def test_other_errors_are_not(error: Exception) -> None:
    assert describe_full_disk(error) is None
