"""Workers that are actors on a Ray cluster, or on a local one that is started for the race."""

import logging
import os
import pickle
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from eyas.errors import EyasError, MissingExtraError, ParameterError
from eyas.scoring.workers.dispatch import WorkerLost, WorkerPool, error_summary, start_error
from eyas.scoring.workers.task import ScoringTask, TaskResult, start_task
from eyas.scoring.workers.transfer import Blueprint, TensorBytes, unpack

if TYPE_CHECKING:
    from eyas.pruning.plan import PruningPlan

_log = logging.getLogger(__name__)
_PATIENCE_SECONDS = 120.0


class RayPool(WorkerPool):
    """Ray actors; blueprint and tensors are put into the object store once.

    Args:
        blueprint, tensors: what :func:`~eyas.scoring.workers.transfer.pack` made.
        plans: the candidates.
        address: ``ray`` (``RAY_ADDRESS``, else a local cluster), ``ray://host:port``, or ``host:port``.
        workers: how many actors.
        device: ``cpu``, or ``cuda``: then each actor takes a GPU of its own.
        threads: torch threads, and Ray CPUs, of each actor.

    Raises:
        MissingExtraError: Ray is not installed.
        ParameterError: no cluster answers at the address.
        EyasError: the cluster has no room for all actors, or they cannot start.
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
        self._actors: dict[int, Any] = {}
        self._pending: dict[Any, tuple[int, ScoringTask]] = {}
        self._device, self._threads = device, threads
        self._owns_cluster = connect(self._ray, address, cpus=workers * threads)
        try:
            # numpy arrays lie in the store once per machine, and every actor there reads the same bytes
            code = self._ray.cloudpickle.dumps(blueprint)
            flat = {name: TensorBytes.of(tensor) for name, tensor in tensors.items()}
            self._payload = self._ray.put((code, flat, sys.path))
            resources = {"num_cpus": threads, "num_gpus": 1 if device == "cuda" else 0, "max_concurrency": 1}
            self._actor_class = self._ray.remote(**resources)(Actor)
            for worker in range(workers):
                self._create_actor(worker)
            self._wait_until_ready(range(workers))
        except BaseException:
            self.close()
            raise

    def start(self, worker: int) -> None:
        """Place an actor; Ray finds it a machine."""
        self._pending = {ref: entry for ref, entry in self._pending.items() if entry[0] != worker}
        self._create_actor(worker)
        self._wait_until_ready([worker])

    def _create_actor(self, worker: int) -> None:
        self._actors[worker] = self._actor_class.remote(self._payload, self._device, self._threads)

    def _wait_until_ready(self, workers: Sequence[int]) -> None:
        """Wait until actors have a machine and an engine: one that the cluster has no room for would wait for ever.

        Raises:
            EyasError: they cannot start, or there is no room for all.
        """
        calls = [self._actors[worker].ready.remote() for worker in workers]
        ready, missing = self._ray.wait(calls, num_returns=len(calls), timeout=_PATIENCE_SECONDS)
        try:
            self._ray.get(ready)
        except self._ray.exceptions.RayError as error:
            raise start_error(error_summary(str(error))) from error
        if missing:
            here = self._ray.cluster_resources()
            msg = (
                f"after {_PATIENCE_SECONDS:.0f} s the cluster has room for {self.workers - len(missing)} of "
                f"{self.workers} scoring actors of {self._threads} CPUs each"
                f"{' and a GPU' if self._device == 'cuda' else ''}; it has {here.get('CPU', 0):.0f} CPUs and "
                f"{here.get('GPU', 0):.0f} GPUs in all: ask for fewer `workers` or `threads`, or add "
                "machines"
            )
            raise EyasError(msg)

    def submit(self, worker: int, task: ScoringTask) -> None:
        """Call the actor; its death shows in :meth:`wait`."""
        self._pending[self._actors[worker].measure.remote(task)] = (worker, task)

    def wait(self) -> Iterable[tuple[int, TaskResult | WorkerLost]]:
        """The next result, or a lost actor."""
        (ready,), _ = self._ray.wait(list(self._pending), num_returns=1)
        worker, _ = self._pending.pop(ready)
        try:
            return [(worker, self._ray.get(ready))]
        except self._ray.exceptions.RayError as error:
            reason = error_summary(str(error))
            _log.warning("scoring actor %d was lost (%s); its candidates are scored again", worker, reason)
            return [(worker, WorkerLost(reason))]

    def close(self) -> None:
        """End the actors, and the cluster where it was started here."""
        for actor in self._actors.values():
            self._ray.kill(actor)
        if self._owns_cluster:
            self._ray.shutdown()


class Actor:
    """Runs on the cluster: an engine that answers tasks."""

    def __init__(self, payload: tuple[bytes, dict[str, TensorBytes], list[str]], device: str, threads: int) -> None:
        code, flat, folders = payload
        sys.path += [folder for folder in folders if folder not in sys.path]  # where plugins and the network may lie
        blueprint: Blueprint = pickle.loads(code)  # noqa: S301
        torch.set_num_threads(threads)
        self._engine = unpack(blueprint, {name: entry.tensor() for name, entry in flat.items()}, device)

    def ready(self) -> bool:
        """Answers once the engine stands."""
        return True

    def measure(self, task: ScoringTask) -> TaskResult:
        """Measure one candidate."""
        return start_task(self._engine, task)()


def import_ray() -> Any:
    """The ``ray`` module.

    Raises:
        MissingExtraError: says how to install it.
    """
    try:
        import ray
    except ImportError as error:
        msg = "`cluster` needs Ray, which is an extra: pip install 'eyas[ray]', or leave `cluster` out"
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
    except Exception as error:  # Ray raises whatever it met on its way, bare exceptions too
        ray.shutdown()
        cause = error_summary(str(error))
        msg = f"`cluster`: no Ray cluster answers at {address!r} ({cause}); start one, or give 'ray'"
        raise ParameterError(msg) from error
    return True
