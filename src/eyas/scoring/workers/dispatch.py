"""A crew of several workers: candidates handed out two at a time, those of a lost worker handed out again.

A result does not depend on who measured it or when: the race looks at a rung only when it is complete.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eyas.errors import EyasError
from eyas.scoring.race.measurement import Measurement
from eyas.scoring.race.rungs import Rung
from eyas.scoring.workers.local import OutOfMemoryDuringScoringError

if TYPE_CHECKING:
    from eyas.pruning.plan import PruningPlan

_DEPTH = 2  # one in work, one waiting: a worker never idles while its answer travels
_LOSSES_IN_A_ROW = 3
_LONGEST_CAUSE = 600


@dataclass(frozen=True)
class Task:
    """One candidate to measure; ``run`` tells answers to an earlier, abandoned call apart."""

    run: int
    candidate: int
    plan: "PruningPlan"
    rung: Rung
    batch_size: int


@dataclass(frozen=True)
class Answer:
    """What a worker says: a measurement, or why there is none."""

    run: int
    candidate: int
    measured: Measurement | None = None
    out_of_memory: str = ""
    failure: str = ""


@dataclass(frozen=True)
class Lost:
    """A worker died; what it held must be measured again."""

    reason: str
    never_began: bool = False
    """It could not even get ready, for a reason of its own: another try would end alike."""


class DividedCrew(ABC):
    """Hands out candidates to ``workers`` workers; how they are reached is the subclass's affair."""

    def __init__(self, plans: "Sequence[PruningPlan]", workers: int) -> None:
        self.plans, self.workers = plans, workers
        self._run = 0
        self._losses = [0] * workers  # of each worker since its last answer

    @abstractmethod
    def start(self, worker: int) -> None:
        """Bring a worker to life."""

    @abstractmethod
    def submit(self, worker: int, task: Task) -> None:
        """Give a worker a task; must not fail where the worker is dead (:meth:`wait` tells)."""

    @abstractmethod
    def wait(self) -> Iterable[tuple[int, Answer | Lost]]:
        """Block until some worker has something to say."""

    @abstractmethod
    def close(self) -> None:
        """End all workers."""

    def run(self, rung: Rung, batch_size: int, todo: Sequence[int]) -> Iterator[tuple[int, Measurement]]:
        """Measure everyone, in whatever order the workers finish.

        Raises:
            EyasError: workers die again and again, or a candidate cannot be measured.
        """
        self._run += 1
        waiting = deque(todo)
        held: list[deque[int]] = [deque() for _ in range(self.workers)]
        for worker in [*range(self.workers)] * _DEPTH:
            self._feed(worker, waiting, held, rung, batch_size)
        while any(held):
            for worker, said in self.wait():
                if isinstance(said, Lost):
                    self._replace(worker, said)
                    waiting.extendleft(reversed(held[worker]))
                    held[worker].clear()
                elif said.run == self._run:
                    self._losses[worker] = 0
                    held[worker].remove(said.candidate)
                    yield said.candidate, _measurement(said)
                while waiting and len(held[worker]) < _DEPTH:
                    self._feed(worker, waiting, held, rung, batch_size)

    def _feed(
        self, worker: int, waiting: deque[int], held: list[deque[int]], rung: Rung, batch_size: int
    ) -> None:  # fmt: skip
        if waiting:
            candidate = waiting.popleft()
            held[worker].append(candidate)
            self.submit(worker, Task(self._run, candidate, self.plans[candidate], rung, batch_size))

    def _replace(self, worker: int, lost: Lost) -> None:
        if lost.never_began:
            raise cannot_start(lost.reason)
        self._losses[worker] += 1
        if self._losses[worker] > _LOSSES_IN_A_ROW:
            msg = (
                f"scoring worker {worker} died {self._losses[worker]} times without an answer, the last time with: "
                f"{lost.reason}; the log has what it said, and score.batch_size and runtime.workers decide its memory"
            )
            raise EyasError(msg)
        self.start(worker)


def cannot_start(cause: str) -> EyasError:
    """The error for workers that never got ready."""
    return EyasError(
        f"scoring workers cannot start: {cause}; they import the script, and the module that the network comes from: "
        "keep both in files, what a script does under if __name__ == '__main__':, or score with one worker"
    )


def last_words(text: str) -> str:
    """What an error message of many lines comes to: what stands below its last indented line, the exception itself."""
    lines = [line for line in text.splitlines() if line.strip()]
    indented = [number for number, line in enumerate(lines) if line[0].isspace()]
    found = lines[indented[-1] + 1 :] if indented else lines
    return " ".join(line.strip() for line in found or lines[-1:])[:_LONGEST_CAUSE]


def _measurement(said: Answer) -> Measurement:
    if said.out_of_memory:
        raise OutOfMemoryDuringScoringError(said.out_of_memory)
    if said.measured is None:
        msg = f"candidate {said.candidate} could not be scored: {said.failure}"
        raise EyasError(msg)
    return said.measured
