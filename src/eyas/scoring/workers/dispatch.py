"""A pool of several workers: candidates handed out two at a time, those of a lost worker handed out again.

A result does not depend on who measured it or when: the race looks at a rung only when it is complete.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eyas.errors import EyasError
from eyas.scoring.memory import OutOfMemoryDuringScoringError
from eyas.scoring.race.measurement import Measurement
from eyas.scoring.race.rungs import Rung
from eyas.scoring.workers.task import ScoringTask, TaskResult

if TYPE_CHECKING:
    from eyas.pruning.plan import PruningPlan

_TASKS_PER_WORKER = 2  # one in work, one waiting: a worker never idles while its result travels
_LOSSES_IN_A_ROW = 3
_LONGEST_CAUSE = 600


@dataclass(frozen=True)
class WorkerLost:
    """A worker died; its candidates must be measured again."""

    reason: str
    never_started: bool = False
    """It could not even get ready, for a reason of its own: another try would end alike."""


class WorkerPool(ABC):
    """Hands out candidates to ``workers`` workers; how they are reached is the subclass's affair."""

    def __init__(self, plans: "Sequence[PruningPlan]", workers: int) -> None:
        self.plans, self.workers = plans, workers
        self._call = 0
        self._losses = [0] * workers  # of each worker since its last result

    @abstractmethod
    def start(self, worker: int) -> None:
        """Start a worker, or start it again."""

    @abstractmethod
    def submit(self, worker: int, task: ScoringTask) -> None:
        """Give a worker a task; must not fail where the worker is dead (:meth:`wait` tells)."""

    @abstractmethod
    def wait(self) -> Iterable[tuple[int, TaskResult | WorkerLost]]:
        """Block until some worker has a result, or is lost."""

    @abstractmethod
    def close(self) -> None:
        """End all workers."""

    def measure(self, rung: Rung, batch_size: int, candidates: Sequence[int]) -> Iterator[tuple[int, Measurement]]:
        """Measure every candidate, in whatever order the workers finish.

        Raises:
            EyasError: workers die again and again, or a candidate cannot be measured.
        """
        self._call += 1
        queue = deque(candidates)
        in_flight: list[deque[int]] = [deque() for _ in range(self.workers)]

        def submit_next(worker: int) -> None:
            if queue:
                candidate = queue.popleft()
                in_flight[worker].append(candidate)
                self.submit(worker, ScoringTask(self._call, candidate, self.plans[candidate], rung, batch_size))

        for worker in [*range(self.workers)] * _TASKS_PER_WORKER:
            submit_next(worker)
        while any(in_flight):
            for worker, result in self.wait():
                if isinstance(result, WorkerLost):
                    self._replace(worker, result)
                    queue.extendleft(reversed(in_flight[worker]))
                    in_flight[worker].clear()
                elif result.call == self._call:
                    self._losses[worker] = 0
                    in_flight[worker].remove(result.candidate)
                    yield result.candidate, _measurement(result)
                while queue and len(in_flight[worker]) < _TASKS_PER_WORKER:
                    submit_next(worker)

    def _replace(self, worker: int, lost: WorkerLost) -> None:
        if lost.never_started:
            raise start_error(lost.reason)
        self._losses[worker] += 1
        if self._losses[worker] > _LOSSES_IN_A_ROW:
            msg = (
                f"scoring worker {worker} died {self._losses[worker]} times without an answer, the last time with: "
                f"{lost.reason}; the log has what it said, and `batch_size` and `workers` decide its memory"
            )
            raise EyasError(msg)
        self.start(worker)


def start_error(cause: str) -> EyasError:
    """The error for workers that never got ready."""
    return EyasError(
        f"scoring workers cannot start: {cause}; they import the script, and the modules that the network and plugins "
        "come from: keep these in files (on each machine of a cluster), what a script does under "
        "if __name__ == '__main__':, or score with one worker"
    )


def error_summary(text: str) -> str:
    """What an error message of many lines comes to: what stands below its last indented line, the exception itself."""
    lines = [line for line in text.splitlines() if line.strip()]
    indented = [number for number, line in enumerate(lines) if line[0].isspace()]
    last = lines[indented[-1] + 1 :] if indented else lines
    return " ".join(line.strip() for line in last or lines[-1:])[:_LONGEST_CAUSE]


def _measurement(result: TaskResult) -> Measurement:
    if result.out_of_memory:
        raise OutOfMemoryDuringScoringError(result.out_of_memory)
    if result.measurement is None:
        msg = f"candidate {result.candidate} could not be scored: {result.failure}"
        raise EyasError(msg)
    return result.measurement
