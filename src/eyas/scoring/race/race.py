"""Successive halving over rungs (Jamieson & Talwalkar 2016, arXiv:1502.07943), paired on the same images.

Every candidate of a rung sees the same images in the same batches, so two candidates are compared by the differences
of their per-image scores. The race ends early when its leader is beyond doubt. Rungs of training steps come last: what
images alone say of untrained networks may not hold after training, so that no leader there ends the race.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from eyas.scoring.race.journal import NoRaceJournal, RaceJournal
from eyas.scoring.race.measurement import Measurement
from eyas.scoring.race.progress import RaceProgress
from eyas.scoring.race.rungs import Rung
from eyas.scoring.race.score_table import Standings
from eyas.scoring.race.top_candidates import TopCandidates
from eyas.scoring.race.training_rounds import training_rounds


class Executor(Protocol):
    """Whoever measures candidates: this process, a pool of processes, or a cluster."""

    def measure(self, rung: Rung, batch_size: int, candidates: Sequence[int]) -> Iterator[tuple[int, Measurement]]:
        """Measure every candidate, in any order, each once."""

    def close(self) -> None:
        """End whatever was started."""


@dataclass(frozen=True)
class RaceSpec:
    """What is raced: fixed before the start, and what a result depends on."""

    num_candidates: int
    original: NDArray[np.int64]
    """For each candidate the first one equal to it; only those run."""
    rungs: tuple[Rung, ...]
    batch_size: int
    """Images per batch of the statistics."""
    stop_margin: float
    """With a leader this many standard errors ahead, it alone goes to the last rung; where rungs train, a leader
    before the first of these does not."""
    grow: Callable[[NDArray[np.float64]], NDArray[np.int64]] | None = None
    """From everyone's scores on the first rung to :attr:`original` with the next generation behind it."""
    log_widths: Callable[[NDArray[np.int64]], NDArray[np.float64]] | None = None
    """Of candidates by number, ``(n, G)``: what the surrogate of a rung with ``trained`` looks at."""

    @property
    def distinct(self) -> NDArray[np.int64]:
        """The candidates that run, in order."""
        return np.unique(self.original)

    def may_decide(self, rung: Rung) -> bool:
        """Whether a leader on this rung ends the race: before any training none does where rungs train."""
        return (rung.steps is None) == (self.rungs[-1].steps is None)


@dataclass(frozen=True)
class RaceResult:
    """How a race ended."""

    spec: RaceSpec
    """With the candidates of all generations."""
    standings: Standings
    margins: list[float]
    """The leader's margin after each rung that was run, in standard errors."""
    entered: list[int]
    """Candidates on each rung that was run; 0 where a rung was skipped."""
    decided_early: bool
    """The leader was beyond doubt before the last rung."""
    promotions: list[tuple[dict[int, float], dict[int, float]]]
    """Scores before and after each promotion to a next rung, by candidate; for rank stability."""
    first_rung: tuple[NDArray[np.float64], ...]
    """Score, standard error and accuracy of every distinct candidate on the first rung."""
    paired_error: float
    """Of the difference of two scores on the first rung, which all its candidates' images share."""
    finalists: TopCandidates
    """The best of the last rung that was run."""


def race(
    spec: RaceSpec, executor: Executor, journal: RaceJournal | NoRaceJournal, progress: RaceProgress
) -> RaceResult:
    """Let the distinct candidates climb the rungs; what the journal holds is not measured again.

    Where candidates can become more, each generation is judged on the first rung before the next is asked for; then
    all of them go on together. Who is not trained on a rung that trains only some stays behind.
    """
    standings, alive, decided = Standings(spec.num_candidates), spec.distinct, False
    last = len(spec.rungs) - 1
    margins: list[float] = []
    entered = [0] * len(spec.rungs)
    promotions: list[tuple[dict[int, float], dict[int, float]]] = []
    first_rung: tuple[NDArray[np.float64], ...] = ()
    paired_error = float("nan")
    top = TopCandidates()
    before: dict[int, float] = {}
    for number, rung in enumerate(spec.rungs):
        if decided and number < last:
            continue
        top, measured = TopCandidates(), alive[:0]
        for grown, entrants in _entrants(spec, number, standings, alive):
            spec = grown
            if not len(entrants):
                break
            progress.start_rung(number, len(entrants))
            for candidate, measurement, replayed in _measurements(spec, number, entrants, executor, journal):
                top.add(candidate, measurement)
                standings.record(candidate, number, measurement)
                progress.record(number, candidate, measurement, replayed=replayed)
            measured = np.union1d(measured, entrants)
        alive = measured
        margins.append(top.margin())
        entered[number] = len(alive)
        if number == 0:
            first_rung = tuple(standings.values[name][alive] for name in ("score", "standard_error", "accuracy"))
            paired_error = top.paired_error()
        else:
            promotions.append(({candidate: before[candidate] for candidate in alive.tolist()}, standings.scores(alive)))
        if len(alive) > 1 and number < last and spec.may_decide(rung):
            decided = decided or margins[-1] > spec.stop_margin
        alive = np.sort(standings.order(alive)[: 1 if decided else rung.survivors(len(alive))])
        before = standings.scores(alive)
    return RaceResult(spec, standings, margins, entered, decided, promotions, first_rung, paired_error, top)


def _entrants(
    spec: RaceSpec, number: int, standings: Standings, alive: NDArray[np.int64]
) -> Iterator[tuple[RaceSpec, NDArray[np.int64]]]:
    """Who is measured on a rung, in rounds, each chosen by the scores of those before; with the race as it is then."""
    rung = spec.rungs[number]
    if rung.trained is not None and len(alive) > rung.trained:
        assert spec.log_widths is not None
        for entrants in training_rounds(standings, alive, spec.log_widths(alive), rung.trained):
            yield spec, entrants
        return
    yield spec, alive
    while number == 0 and spec.grow is not None and len(alive):
        spec, alive = _next_generation(spec, spec.grow, standings)
        yield spec, alive


def _next_generation(
    spec: RaceSpec, grow: Callable[[NDArray[np.float64]], NDArray[np.int64]], standings: Standings
) -> tuple[RaceSpec, NDArray[np.int64]]:
    """The race with the next generation in it, and who of that runs: nobody where there is none."""
    original = grow(standings.values["score"][spec.original])
    standings.extend(len(original) - spec.num_candidates)
    grown = replace(spec, num_candidates=len(original), original=original)
    return grown, np.setdiff1d(grown.distinct, spec.distinct)


def _measurements(
    spec: RaceSpec, number: int, alive: NDArray[np.int64], executor: Executor, journal: RaceJournal | NoRaceJournal
) -> Iterator[tuple[int, Measurement, bool]]:
    """Everyone's measurement on a rung: first those in the journal (True), then the others, put into it (False)."""
    missing, top = set(alive.tolist()), TopCandidates()
    for candidate, measurement in journal.finished(number):
        if candidate in missing:
            missing.remove(candidate)
            top.add(candidate, measurement)
            yield candidate, measurement, True
    for candidate, measurement in executor.measure(spec.rungs[number], spec.batch_size, sorted(missing)):
        kept = top.add(candidate, measurement)
        journal.add(number, candidate, measurement if kept else replace(measurement, image_scores=None))
        yield candidate, measurement, False
