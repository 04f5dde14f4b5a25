"""This process as the executor of a race."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from eyas.scoring.engine import Engine
from eyas.scoring.memory import OutOfMemoryDuringScoringError, is_out_of_memory
from eyas.scoring.race.measurement import Measurement
from eyas.scoring.race.rungs import Rung

if TYPE_CHECKING:
    from eyas.pruning.plan import PruningPlan


class LocalExecutor:
    """This process, on one device."""

    def __init__(self, engine: Engine, plans: "Sequence[PruningPlan]") -> None:
        self.engine, self.plans = engine, plans

    def measure(self, rung: Rung, batch_size: int, candidates: Sequence[int]) -> Iterator[tuple[int, Measurement]]:
        """Measure in the order given; on a GPU the next candidate is queued before this one is waited for."""
        ahead = 1 if self.engine.device.startswith("cuda") else 0
        queued: deque[tuple[int, Callable[[], Measurement]]] = deque()
        try:
            for candidate in candidates:
                queued.append((candidate, self.engine.launch(self.plans[candidate], rung, batch_size)))
                if len(queued) > ahead:
                    number, wait = queued.popleft()
                    yield number, wait()
            for number, wait in queued:
                yield number, wait()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemoryDuringScoringError(str(error)) from error

    def close(self) -> None:
        """Nothing was started."""
