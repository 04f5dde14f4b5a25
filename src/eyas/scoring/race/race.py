"""Successive halving over rungs (Jamieson & Talwalkar 2016, arXiv:1502.07943), paired on the same images.

Every candidate of a rung sees the same images in the same batches, so two candidates are compared by the differences
of their per-image goodness. The race ends early when its leader is beyond doubt.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from eyas.scoring.race.measurement import Measurement
from eyas.scoring.race.rungs import Rung
from eyas.scoring.race.score_table import Standings

_CONTENDERS = 32


class Crew(Protocol):
    """Whoever measures candidates: this process, several, or a cluster."""

    def run(self, rung: Rung, batch_size: int, todo: Sequence[int]) -> Iterator[tuple[int, Measurement]]:
        """Measure every candidate of ``todo``, in any order, each once."""


class Notes(Protocol):
    """Where finished measurements are kept, and found again."""

    def finished(self, rung: int) -> Iterable[tuple[int, Measurement]]:
        """What an earlier run measured on this rung."""

    def add(self, rung: int, candidate: int, measured: Measurement) -> None:
        """Keep a measurement before the next one begins."""


class Watcher(Protocol):
    """Whoever is told how far the race is."""

    def enter(self, rung: int, candidates: int) -> None:
        """A rung begins."""

    def note(self, rung: int, candidate: int, measured: Measurement, *, replayed: bool) -> None:
        """A candidate finished a rung, now or (``replayed``) in an earlier run."""


class Contenders:
    """The best few of a rung with their per-image goodness; independent of the order of arrival."""

    def __init__(self, size: int = _CONTENDERS) -> None:
        self.size = size
        self._heap: list[tuple[float, int, NDArray[np.float32]]] = []

    def offer(self, candidate: int, measured: Measurement) -> bool:
        """Whether the candidate is among the best so far (then its goodness is kept)."""
        if measured.goodness is None or not np.isfinite(measured.score):
            return False
        entry = (measured.score, -candidate, measured.goodness)
        if len(self._heap) < self.size:
            heapq.heappush(self._heap, entry)
            return True
        if entry[:2] <= self._heap[0][:2]:
            return False
        heapq.heapreplace(self._heap, entry)
        return True

    def margin(self) -> float:
        """The leader's smallest lead over another contender, in standard errors of their paired difference.

        Infinite where there is no other; images of one batch share its statistics, so this is approximate.
        """
        ranked = sorted(self._heap, reverse=True)
        if len(ranked) < 2:
            return float("inf")
        leader = ranked[0][2].astype(np.float64)
        gaps_MN = leader - np.stack([entry[2] for entry in ranked[1:]]).astype(np.float64)
        errors = gaps_MN.std(1, ddof=1) / np.sqrt(gaps_MN.shape[1])
        with np.errstate(divide="ignore", invalid="ignore"):
            leads = gaps_MN.mean(1) / errors
        return float(np.nan_to_num(leads, nan=0.0, posinf=np.inf).min())


@dataclass(frozen=True)
class Course:
    """What is raced: fixed before the start, and what a result depends on."""

    count: int
    """Candidates."""
    original: NDArray[np.int64]
    """For each candidate the first one equal to it; only those run."""
    rungs: tuple[Rung, ...]
    batch_size: int
    """Images per batch of the statistics."""
    stop_margin: float
    """With a leader this many standard errors ahead, it alone goes to the last rung."""


@dataclass(frozen=True)
class Finish:
    """How a race ended."""

    standings: Standings
    margins: list[float]
    """The leader's margin after each rung that was run, in standard errors."""
    entered: list[int]
    """Candidates on each rung that was run; 0 where a rung was skipped."""
    early: bool
    """The leader was beyond doubt before the last rung."""
    climbed: list[tuple[dict[int, float], dict[int, float]]]
    """Scores before and after each climb, by candidate; for rank stability."""
    first: tuple[NDArray[np.float64], NDArray[np.float64]]
    """Score and standard error of every distinct candidate on the first rung."""


def race(course: Course, crew: Crew, notes: Notes, watcher: Watcher) -> Finish:
    """Let the distinct candidates climb the rungs; what ``notes`` hold is not measured again."""
    standings, alive, early = Standings(course.count), np.unique(course.original), False
    rungs, last = course.rungs, len(course.rungs) - 1
    margins: list[float] = []
    entered = [0] * len(rungs)
    climbed: list[tuple[dict[int, float], dict[int, float]]] = []
    first = (np.empty(0), np.empty(0))
    before: dict[int, float] = {}
    for number, rung in enumerate(rungs):
        if early and number < last:
            continue
        watcher.enter(number, len(alive))
        contenders = Contenders()
        for candidate, measured, replayed in _measure(course, number, alive, crew, notes):
            contenders.offer(candidate, measured)
            standings.note(candidate, number, measured)
            watcher.note(number, candidate, measured, replayed=replayed)
        margins.append(contenders.margin())
        entered[number] = len(alive)
        if number == 0:
            first = (standings.values["score"][alive], standings.values["standard_error"][alive])
        else:
            climbed.append((before, standings.scores(alive)))
        early = early or (len(alive) > 1 and margins[-1] > course.stop_margin and number < last)
        alive = np.sort(standings.order(alive)[: 1 if early else rung.survivors(len(alive))])
        before = standings.scores(alive)
    return Finish(standings, margins, entered, early, climbed, first)


def _measure(
    course: Course, number: int, alive: NDArray[np.int64], crew: Crew, notes: Notes
) -> Iterator[tuple[int, Measurement, bool]]:
    """Everyone's measurement on a rung: first those on record (and that they are), then the others, put on record."""
    wanted, contenders = set(alive.tolist()), Contenders()
    for candidate, measured in notes.finished(number):
        if candidate in wanted:
            wanted.remove(candidate)
            contenders.offer(candidate, measured)
            yield candidate, measured, True
    for candidate, measured in crew.run(course.rungs[number], course.batch_size, sorted(wanted)):
        kept = contenders.offer(candidate, measured)
        notes.add(number, candidate, measured if kept else replace(measured, goodness=None))
        yield candidate, measured, False
