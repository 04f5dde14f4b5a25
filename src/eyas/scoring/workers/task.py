"""One candidate to measure, as it travels to a worker, and what comes back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eyas.scoring.engine import Engine
from eyas.scoring.memory import is_out_of_memory
from eyas.scoring.race.measurement import Measurement
from eyas.scoring.race.rungs import Rung

if TYPE_CHECKING:
    from eyas.pruning.plan import PruningPlan


@dataclass(frozen=True)
class ScoringTask:
    """One candidate to measure; ``call`` tells results of an earlier, abandoned call apart."""

    call: int
    candidate: int
    plan: "PruningPlan"
    rung: Rung
    batch_size: int


@dataclass(frozen=True)
class TaskResult:
    """A measurement, or why there is none."""

    call: int
    candidate: int
    measurement: Measurement | None = None
    out_of_memory: str = ""
    failure: str = ""


def start_task(engine: Engine, task: ScoringTask) -> Callable[[], TaskResult]:
    """Queue a measurement; what is returned waits for it, or says why there is none."""
    try:
        wait = engine.launch(task.plan, task.rung, task.batch_size)
    except Exception as error:  # whatever it is, the parent must hear of it
        failed = _failure(task, error)
        return lambda: failed

    def finish() -> TaskResult:
        try:
            return TaskResult(task.call, task.candidate, wait())
        except Exception as error:  # a GPU's errors surface here
            return _failure(task, error)

    return finish


def _failure(task: ScoringTask, error: Exception) -> TaskResult:
    if is_out_of_memory(error):
        return TaskResult(task.call, task.candidate, out_of_memory=str(error) or "out of memory")
    return TaskResult(task.call, task.candidate, failure=f"{type(error).__name__}: {error}")
