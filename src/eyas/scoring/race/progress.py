"""Progress of a race in words: candidates per second, time left, the best so far."""

import time
from collections.abc import Callable, Sequence

from eyas.progress import Progress
from eyas.scoring.race.measurement import Measurement
from eyas.scoring.race.rungs import Rung

_PAUSE_SECONDS = 0.2


class RaceProgress:
    """Turns measurements into calls of a :class:`~eyas.progress.Progress`, a few per second at most.

    Args:
        report: whom to tell.
        rungs: of the race; the time left weighs candidates by the images they will see.
        count: distinct candidates on the first rung, of all generations together at most.
        clock: seconds, for tests.
    """

    def __init__(
        self, report: Progress, rungs: Sequence[Rung], count: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._report, self._rungs, self._clock = report, rungs, clock
        self._entries = _expected(rungs, count)
        self._rung, self._done, self._done_here = -1, 0, 0
        self._last_record = self._last_report = clock()
        self._measured, self._seconds, self._images = 0, 0.0, 0  # by this run, without what the journal held
        self._leader = (-1, float("-inf"))

    def start_rung(self, rung: int, candidates: int) -> None:
        """A rung begins, perhaps with fewer than foreseen; or goes on, with a further generation."""
        if rung != self._rung:
            self._rung, self._done_here, self._leader = rung, 0, (-1, float("-inf"))
        entered = self._done_here + candidates
        self._entries[rung] = max(entered, self._entries[0]) if rung == 0 else entered
        self._entries[rung + 1 :] = _expected(self._rungs[rung:], self._entries[rung])[1:]

    def record(self, rung: int, candidate: int, measurement: Measurement, *, replayed: bool = False) -> None:
        """Count a candidate; report where the last report is old enough, or the rung is done.

        One that is ``replayed`` from an earlier run says nothing about the speed of this one.
        """
        now = self._clock()
        self._done, self._done_here = self._done + 1, self._done_here + 1
        if not replayed:
            self._measured += 1
            self._seconds += now - self._last_record
            self._images += self._rungs[rung].cost()
        self._last_record = now
        if measurement.score > self._leader[1]:
            self._leader = (candidate, measurement.score)
        if now - self._last_report >= _PAUSE_SECONDS or self._done_here == self._entries[rung]:
            self._last_report = now
            self._report(self._done, max(self._total(), self._done), self.text())

    def text(self) -> str:
        """One line for a progress bar."""
        score = f"{self._leader[1]:.4f}".replace("-", "\N{MINUS SIGN}")
        best = f", best of this rung {score}" if self._leader[0] >= 0 else ""
        here = f"{self._done_here} of {self._entries[self._rung]} on {self._rungs[self._rung].images} images"
        return f"rung {self._rung + 1} of {len(self._rungs)} ({here}): {self._pace()}{best}"

    def _pace(self) -> str:
        if not self._measured:
            return f"{self._done} from the journal"
        seconds = max(self._seconds, 1e-9)
        left = self._images_left() * seconds / self._images
        return f"{self._measured / seconds:.1f}/s, {_duration(left)} left"

    def _total(self) -> int:
        behind = self._done - self._done_here
        return behind + sum(self._entries[self._rung :])

    def _images_left(self) -> int:
        here = self._rungs[self._rung].cost() * (self._entries[self._rung] - self._done_here)
        later = zip(self._rungs[self._rung + 1 :], self._entries[self._rung + 1 :], strict=True)
        return here + sum(rung.cost() * entries for rung, entries in later)


def _expected(rungs: Sequence[Rung], count: int) -> list[int]:
    """How many candidates enter each rung where nothing ends early."""
    entries = [count]
    for rung in rungs[:-1]:
        entries.append(rung.survivors(entries[-1]))
    return entries


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
