"""Whoever measures: here this process itself."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import torch

from eyas.errors import EyasError
from eyas.scoring.engine import Engine
from eyas.scoring.race.measurement import Measurement
from eyas.scoring.race.rungs import Rung

if TYPE_CHECKING:
    from eyas.pruning.plan import PruningPlan

Result = TypeVar("Result")


class OutOfMemoryDuringScoringError(Exception):
    """The device cannot hold a batch; the race starts again at half the batch size."""


class LocalCrew:
    """This process, on one device."""

    def __init__(self, engine: Engine, plans: "Sequence[PruningPlan]") -> None:
        self.engine, self.plans = engine, plans

    def run(self, rung: Rung, batch_size: int, todo: Sequence[int]) -> Iterator[tuple[int, Measurement]]:
        """Measure in the order given; on a GPU the next candidate is queued before this one is waited for."""
        ahead = 1 if self.engine.device.startswith("cuda") else 0
        waiting: deque[tuple[int, Callable[[], Measurement]]] = deque()
        try:
            for candidate in todo:
                waiting.append((candidate, self.engine.launch(self.plans[candidate], rung, batch_size)))
                if len(waiting) > ahead:
                    number, wait = waiting.popleft()
                    yield number, wait()
            for number, wait in waiting:
                yield number, wait()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemoryDuringScoringError(str(error)) from error

    def close(self) -> None:
        """Nothing was started."""


def while_memory_lasts(work: Callable[[int], Result], batch_size: int) -> Result:
    """``work(batch_size)``, again at half the size for as long as memory does not suffice.

    For the dense network, which is larger than every candidate: a race must not fail on it at its end.

    Raises:
        EyasError: it does not suffice for a batch of 2 or 3 images either.
    """
    while True:
        if batch_size < 4:
            with room_for(f"the dense network's answers in batches of {batch_size} images"):
                return work(batch_size)
        try:
            return work(batch_size)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            batch_size //= 2


@contextmanager
def room_for(what: str) -> Iterator[None]:
    """Where memory does not suffice for what a smaller batch would not help either.

    Raises:
        EyasError: it does not; says what to do.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        msg = (
            f"the device's memory does not hold {what} ({error}): give fewer images (score.score_images, "
            "score.calibration_images), fewer workers per GPU, or a device with more memory"
        )
        raise EyasError(msg) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch could not allocate, on whichever device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    words = str(error).lower()
    return isinstance(error, RuntimeError) and ("can't allocate memory" in words or "out of memory" in words)
