"""What was measured, on disk before the next measurement begins, so that a killed race goes on where it stopped.

JSON lines: a header that says which race this is, then one line per finished (candidate, rung). A line is appended with
one write, so a killed process leaves at most its last line torn, which is cut off on opening. Numbers are
written so that they come back bit for bit.
"""

import base64
import fcntl
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from eyas.errors import BusyError
from eyas.scoring.measurement import Measurement

_SYNC_SECONDS = 1.0
_FIELDS = ("score", "standard_error", "accuracy", "cross_entropy", "images")


class NoJournal:
    """Keeps nothing."""

    batch_size: int | None = None

    def finished(self, rung: int) -> Iterable[tuple[int, Measurement]]:
        """Nothing was measured before."""
        return ()

    def add(self, rung: int, candidate: int, measured: Measurement) -> None:
        """Forget it."""

    def restart(self, batch_size: int) -> None:
        """Nothing to drop."""

    def close(self) -> None:
        """Nothing to close."""


class Journal:
    """An append-only file of one race.

    Args:
        path: the file; made with its folder where it does not exist.
        fingerprint: of everything that scores depend on; a journal of another race is begun anew.
        batch_size: as asked for; :attr:`batch_size` is the one in use after running out of memory.

    Raises:
        BusyError: another process races on the same journal.
    """

    def __init__(self, path: Path, *, fingerprint: str, batch_size: int) -> None:
        self.path, self._fingerprint, self.batch_size = path, fingerprint, batch_size
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._synced = time.monotonic()
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            msg = f"{path} is in use: another process scores the same candidates; wait for it or stop it"
            raise BusyError(msg) from error
        header = self._header()
        if header is None:
            self.restart(batch_size)
        else:
            self.batch_size = int(header["batch_size"])
            self._cut_torn_line()

    def finished(self, rung: int) -> Iterator[tuple[int, Measurement]]:
        """Measurements of a rung, read one by one."""
        with self.path.open("rb") as lines:
            next(lines)
            for line in lines:
                entry = json.loads(line)
                if entry["rung"] == rung:
                    yield entry["candidate"], _measurement(entry)

    def add(self, rung: int, candidate: int, measured: Measurement) -> None:
        """Append a measurement."""
        entry: dict[str, Any] = {"rung": rung, "candidate": candidate}
        entry.update({name: getattr(measured, name) for name in _FIELDS})
        if measured.goodness is not None:
            entry["goodness"] = base64.b64encode(measured.goodness.astype("<f4").tobytes()).decode()
        self._append(entry)

    def restart(self, batch_size: int) -> None:
        """Drop everything: scores at another batch size are not comparable."""
        self.batch_size = batch_size
        os.ftruncate(self._file, 0)
        self._append({"fingerprint": self._fingerprint, "batch_size": batch_size})

    def close(self) -> None:
        """Sync and release the file."""
        os.fsync(self._file)
        os.close(self._file)

    def _append(self, entry: dict[str, Any]) -> None:
        os.write(self._file, (json.dumps(entry) + "\n").encode())
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            os.fsync(self._file)
            self._synced = time.monotonic()

    def _header(self) -> dict[str, Any] | None:
        """The header where it is whole and of this race."""
        with self.path.open("rb") as lines:
            first = lines.readline()
        try:
            header = json.loads(first) if first.endswith(b"\n") else None
        except ValueError:
            return None
        return header if isinstance(header, dict) and header.get("fingerprint") == self._fingerprint else None

    def _cut_torn_line(self) -> None:
        """Keep the lines up to the first that is not whole."""
        good = 0
        with self.path.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n") or not line.startswith(b"{") or not line.rstrip().endswith(b"}"):
                    break
                good += len(line)
        os.ftruncate(self._file, good)


def _measurement(entry: dict[str, Any]) -> Measurement:
    coded = entry.get("goodness")
    goodness = None if coded is None else np.frombuffer(base64.b64decode(coded), "<f4").astype(np.float32)
    return Measurement(**{name: entry[name] for name in _FIELDS}, goodness=goodness)
