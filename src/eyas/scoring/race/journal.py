"""What was measured, on disk before the next measurement begins, so that a killed race goes on where it stopped.

A header that says which race this is, then one line per finished (candidate, rung), each a checksum (crc32, eight
hexadecimal digits), a space and JSON. On opening, the file is cut off before the first line that is torn or damaged.
Numbers are written so that they come back bit for bit.
"""

import base64
import errno
import fcntl
import itertools
import json
import logging
import os
import re
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from eyas.errors import BusyError, ParameterError, StorageError
from eyas.scoring.race.measurement import Measurement

_log = logging.getLogger(__name__)

_SYNC_SECONDS = 1.0
_ROUNDING = 1e-4
"""Of the largest answer: another number of threads changes less, another network changes more."""
_LONGEST_HEADER = 2**20
_BEGINNING = re.compile(rb"\0|[0-9a-f]{1,8}$|[0-9a-f]{8} ($|\{)")
"""Of a line, however early it is torn; zeros are what a loss of power leaves."""
_FIELDS = ("score", "standard_error", "accuracy", "cross_entropy", "images")


class NoRaceJournal:
    """Keeps nothing."""

    batch_size: int | None = None

    def finished(self, rung: int) -> Iterable[tuple[int, Measurement]]:
        """Nothing was measured before."""
        return ()

    def add(self, rung: int, candidate: int, measurement: Measurement) -> None:
        """Forget it."""

    def restart(self, batch_size: int) -> None:
        """Nothing to drop."""

    def close(self) -> None:
        """Nothing to close."""


class RaceJournal:
    """An append-only file of one race.

    Args:
        path: the file; made with its folder where it does not exist.
        fingerprint: of everything that scores depend on; a journal of another race is begun anew, a file that is no
            journal is left alone.
        batch_size: as asked for; :attr:`batch_size` is the one in use after running out of memory.
        sample_outputs: some outputs of the dense network, which may differ by rounding.

    Raises:
        BusyError: another process races on the same journal.
        ParameterError: no file can be written there, or it is no journal.
        StorageError: a later write fails.
    """

    def __init__(
        self, path: Path, *, fingerprint: str, batch_size: int, sample_outputs: NDArray[np.float32] | None = None
    ) -> None:
        self.path, self._fingerprint, self.batch_size = path, fingerprint, batch_size
        self._sample_outputs = np.empty(0, np.float32) if sample_outputs is None else sample_outputs
        self._file = _open(path)
        self._synced = time.monotonic()
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            msg = f"{path} is in use: another process scores the same candidates; wait for it or stop it"
            raise BusyError(msg) from error
        try:
            header = self._header()
        except ParameterError:
            os.close(self._file)
            raise
        if header is None:
            self.restart(batch_size)
        else:
            self.batch_size = int(header["batch_size"])
            self._cut_damage()

    def finished(self, rung: int) -> Iterator[tuple[int, Measurement]]:
        """Measurements of a rung, read one by one."""
        with self._reading() as lines:
            for line in itertools.islice(lines, 1, None):
                entry = json.loads(line[9:])
                if entry["rung"] == rung:
                    yield entry["candidate"], _measurement(entry)

    def add(self, rung: int, candidate: int, measurement: Measurement) -> None:
        """Append a measurement."""
        entry: dict[str, Any] = {"rung": rung, "candidate": candidate}
        entry.update({name: getattr(measurement, name) for name in _FIELDS})
        if measurement.image_scores is not None:
            entry["image_scores"] = _coded(measurement.image_scores)
        self._append(entry)

    def restart(self, batch_size: int) -> None:
        """Drop everything: scores at another batch size are not comparable."""
        self.batch_size = batch_size
        os.ftruncate(self._file, 0)
        sample_outputs = _coded(self._sample_outputs)
        self._append({"fingerprint": self._fingerprint, "batch_size": batch_size, "sample_outputs": sample_outputs})

    def close(self) -> None:
        """Sync and release the file."""
        os.fsync(self._file)
        os.close(self._file)

    def _append(self, entry: dict[str, Any]) -> None:
        content = json.dumps(entry).encode()
        rest = b"%08x %b\n" % (zlib.crc32(content), content)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
            if time.monotonic() - self._synced > _SYNC_SECONDS:
                os.fsync(self._file)
                self._synced = time.monotonic()
        except OSError as error:
            msg = f"journal {self.path} cannot be written any more ({error.strerror}): make room, then run again"
            raise StorageError(msg) from error

    def _reading(self) -> BinaryIO:
        """The file from its first line on, also where another has taken its name since."""
        lines = os.fdopen(os.dup(self._file), "rb")
        lines.seek(0)
        return lines

    def _header(self) -> dict[str, Any] | None:
        """The header where it is whole and of this race.

        Raises:
            ParameterError: the file is no journal.
        """
        with self._reading() as lines:
            line = lines.readline(_LONGEST_HEADER)
        content = _content(line)
        if content is None:
            if line and not _BEGINNING.match(line):
                msg = f"{self.path} is no journal of a race and would be overwritten: give another path, or remove it"
                raise ParameterError(msg)
            if line:
                _log.warning("%s is damaged in its first line: it begins anew", self.path)
            return None
        header: dict[str, Any] = json.loads(content)
        same = header.get("fingerprint") == self._fingerprint and _agree(
            _decoded(header["sample_outputs"]), self._sample_outputs
        )
        if not same:
            _log.warning("%s is of another race: it begins anew", self.path)
        return header if same else None

    def _cut_damage(self) -> None:
        """Keep the lines before the first that is torn or damaged."""
        good = 0
        with self._reading() as lines:
            for number, line in enumerate(lines, 1):
                if _content(line) is None:
                    _log.warning(
                        "%s is torn or damaged in line %d: it and the rest is measured again", self.path, number
                    )
                    break
                good += len(line)
        os.ftruncate(self._file, good)


def _open(path: Path) -> int:
    """The file, for reading and appending.

    Raises:
        ParameterError: the system says why not.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, "it is no file")
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError as error:
        msg = f"journal {path} cannot be written ({error.strerror}): give the path of a file"
        raise ParameterError(msg) from error


def _content(line: bytes) -> bytes | None:
    """The JSON of a line that is whole."""
    content = line[9:-1]
    return content if line == b"%08x %b\n" % (zlib.crc32(content), content) else None


def _coded(values: NDArray[np.float32]) -> str:
    return base64.b64encode(values.astype("<f4").tobytes()).decode()


def _decoded(coded: str) -> NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(coded), "<f4").astype(np.float32)


def _agree(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Equal but for rounding; infinities and NaN at the same places."""
    if one.shape != other.shape:
        return False
    largest = float(np.abs(one[np.isfinite(one)]).max(initial=0))
    return np.allclose(one, other, rtol=0, atol=_ROUNDING * largest, equal_nan=True)


def _measurement(entry: dict[str, Any]) -> Measurement:
    image_scores = _decoded(entry["image_scores"]) if "image_scores" in entry else None
    return Measurement(**{name: entry[name] for name in _FIELDS}, image_scores=image_scores)
