"""Workers that are actors on a Ray cluster, or on a local one that is started for the race."""

import logging
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from eyas.errors import MissingExtraError, ParameterError
from eyas.scoring.divided import Answer, DividedCrew, Lost, Task
from eyas.scoring.payload import Blueprint, unpack
from eyas.scoring.processes import begin

if TYPE_CHECKING:
    from eyas.plan import PruningPlan

_log = logging.getLogger(__name__)


class RayCrew(DividedCrew):
    """Ray actors; blueprint and tensors are put into the object store once.

    Args:
        blueprint, tensors: what :func:`~eyas.scoring.payload.pack` made.
        plans: the candidates.
        address: ``ray`` (``RAY_ADDRESS``, else a local cluster), ``ray://host:port``, or ``host:port``.
        workers: how many actors.
        device: ``cpu``, or ``cuda``: then each actor takes a GPU of its own.
        threads: torch threads, and Ray CPUs, of each actor.

    Raises:
        MissingExtraError: Ray is not installed.
        ParameterError: no cluster answers at the address.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        tensors: dict[str, Tensor],
        plans: "Sequence[PruningPlan]",
        *,
        address: str,
        workers: int,
        device: str,
        threads: int,
    ) -> None:
        super().__init__(plans, workers)
        self._ray = import_ray()
        self._ours = connect(self._ray, address, cpus=workers * threads)
        # numpy arrays lie in the store once per machine, and every actor there reads the same bytes
        self._payload = self._ray.put((blueprint, {name: tensor.numpy() for name, tensor in tensors.items()}))
        self._device, self._threads = device, threads
        resources = {"num_cpus": threads, "num_gpus": 1 if device == "cuda" else 0, "max_concurrency": 1}
        self._actor_class = self._ray.remote(**resources)(Actor)
        self._actors: dict[int, Any] = {}
        self._pending: dict[Any, tuple[int, Task]] = {}
        for worker in range(workers):
            self.start(worker)

    def start(self, worker: int) -> None:
        """Place an actor; Ray finds it a machine."""
        self._pending = {ref: entry for ref, entry in self._pending.items() if entry[0] != worker}
        self._actors[worker] = self._actor_class.remote(self._payload, self._device, self._threads)

    def submit(self, worker: int, task: Task) -> None:
        """Call the actor; its death shows in :meth:`wait`."""
        self._pending[self._actors[worker].measure.remote(task)] = (worker, task)

    def wait(self) -> Iterable[tuple[int, Answer | Lost]]:
        """The next answer, or the news of a lost actor."""
        (ready,), _ = self._ray.wait(list(self._pending), num_returns=1)
        worker, _ = self._pending.pop(ready)
        try:
            return [(worker, self._ray.get(ready))]
        except self._ray.exceptions.RayError as error:
            reason = str(error).splitlines()[0]
            _log.warning("scoring actor %d was lost (%s); its candidates are scored again", worker, reason)
            return [(worker, Lost(reason))]

    def close(self) -> None:
        """End the actors, and the cluster where it was started here."""
        for actor in self._actors.values():
            self._ray.kill(actor)
        if self._ours:
            self._ray.shutdown()


class Actor:
    """Runs on the cluster: an engine that answers tasks."""

    def __init__(self, payload: tuple[Blueprint, dict[str, Any]], device: str, threads: int) -> None:
        blueprint, arrays = payload
        torch.set_num_threads(threads)
        # the store's arrays are read-only; torch wants memory that it may write to
        self._engine = unpack(blueprint, {name: torch.tensor(array) for name, array in arrays.items()}, device)

    def measure(self, task: Task) -> Answer:
        """Measure one candidate."""
        return begin(self._engine, task)()


def import_ray() -> Any:
    """The ``ray`` module.

    Raises:
        MissingExtraError: says how to install it.
    """
    try:
        import ray
    except ImportError as error:
        msg = "runtime.cluster needs Ray, which is an extra: pip install 'eyas[ray]', or leave runtime.cluster out"
        raise MissingExtraError(msg) from error
    return ray


def connect(ray: Any, address: str, *, cpus: int) -> bool:
    """Join the cluster at ``address``, or start a local one; whether it is ours to shut down.

    Raises:
        ParameterError: no cluster answers.
    """
    if ray.is_initialized():
        return False
    try:
        if address != "ray" or "RAY_ADDRESS" in os.environ:
            ray.init(address=None if address == "ray" else address, log_to_driver=False)
        else:
            ray.init(num_cpus=cpus, log_to_driver=False, include_dashboard=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        msg = f"runtime.cluster: no Ray cluster answers at {address!r} ({error}); start one, or give 'ray'"
        raise ParameterError(msg) from error
    return True
