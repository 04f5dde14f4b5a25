"""Who measures the candidates: this process, several, or a cluster's, with the cores shared out among them."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from eyas.parallel import cores, share_threads
from eyas.scoring.engine import Engine
from eyas.scoring.race.race import Executor
from eyas.scoring.workers.local import LocalExecutor
from eyas.scoring.workers.pool import ProcessPool
from eyas.scoring.workers.ray import RayPool
from eyas.scoring.workers.transfer import pack

if TYPE_CHECKING:
    from eyas.pruning.plan import PruningPlan

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Resources:
    """What does the work; a result does not depend on it beyond rounding."""

    device: str
    workers: int
    threads: int | None
    """Of each worker; without it torch's own setting."""
    cluster: str | None

    @classmethod
    def allot(cls, device: str, *, workers: int, threads: int | None, cluster: str | None) -> "Resources":
        """The cores shared among the workers, where nothing else is asked for; warns where they do not suffice."""
        if threads is None and (workers > 1 or cluster):
            threads = share_threads(cores(), workers=workers)
        if cluster is None and workers > 1 and device == "cpu" and workers * (threads or 1) > cores():
            _log.warning(
                "%d workers of %d threads share %d cores, which is slower than one worker per core",
                workers,
                threads,
                cores(),
            )
        return cls(device, workers, threads, cluster)

    @property
    def local_device(self) -> str:
        """Where this process looks at the network: the GPUs of a cluster are on its machines."""
        return self.device if self.cluster is None or torch.cuda.is_available() else "cpu"


def start_executor(engine: Engine, plans: "Sequence[PruningPlan]", resources: Resources) -> Executor:
    """The executor, with its workers on their way."""
    if resources.workers == 1 and resources.cluster is None:
        return LocalExecutor(engine, plans)
    packed = pack(engine.model, engine.space, engine.method, engine.images)
    workers: dict[str, Any] = {
        "workers": resources.workers,
        "device": resources.device,
        "threads": torch.get_num_threads(),
    }
    if resources.cluster is None:
        return ProcessPool(*packed, plans, **workers)
    return RayPool(*packed, plans, address=resources.cluster, **workers)


@contextmanager
def isolated_torch(threads: int | None) -> Iterator[None]:
    """So many threads inside, and none of the caller's autocast, as in a worker; all as before afterwards."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads or before)
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        torch.set_num_threads(before)
