"""Workers that are processes of this machine: one per GPU, or with the cores divided among them."""

import logging
import signal
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing import connection, get_context
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from eyas.scoring.crew import is_out_of_memory
from eyas.scoring.divided import Answer, DividedCrew, Lost, Task
from eyas.scoring.engine import Engine
from eyas.scoring.payload import Blueprint, unpack

if TYPE_CHECKING:
    from eyas.plan import PruningPlan

_log = logging.getLogger(__name__)


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: "connection.Connection[Task | None, Answer]"


class ProcessCrew(DividedCrew):
    """Spawned processes; the tensors lie in one file that all of them map into memory.

    Args:
        blueprint, tensors: what :func:`~eyas.scoring.payload.pack` made.
        plans: the candidates.
        workers: how many processes.
        device: ``cpu``, or ``cuda``: then worker i takes GPU i modulo their number.
        threads: torch threads of each worker.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        tensors: dict[str, Tensor],
        plans: "Sequence[PruningPlan]",
        *,
        workers: int,
        device: str,
        threads: int,
    ) -> None:
        super().__init__(plans, workers)
        self._blueprint, self._threads = blueprint, threads
        gpus = torch.cuda.device_count() if device == "cuda" else 0
        self._devices = [f"cuda:{number % gpus}" if gpus else device for number in range(workers)]
        self._folder = tempfile.TemporaryDirectory(prefix="eyas-score-")
        torch.save(tensors, Path(self._folder.name) / "tensors.pt")
        self._members: dict[int, _Worker] = {}
        for worker in range(workers):
            self.start(worker)

    def start(self, worker: int) -> None:
        """Spawn a process."""
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        path = str(Path(self._folder.name) / "tensors.pt")
        arguments = (theirs, self._blueprint, path, self._devices[worker], self._threads)
        process = context.Process(target=serve, args=arguments, name=f"eyas-score-{worker}", daemon=True)
        process.start()
        theirs.close()
        self._members[worker] = _Worker(process, ours)

    def submit(self, worker: int, task: Task) -> None:
        """Send; a broken pipe shows again in :meth:`wait`."""
        try:
            self._members[worker].pipe.send(task)
        except (BrokenPipeError, ConnectionError):
            _log.debug("worker %d was gone when a task came", worker)

    def wait(self) -> Iterable[tuple[int, Answer | Lost]]:
        """Answers of whoever is ready."""
        numbers = {id(member.pipe): number for number, member in self._members.items()}
        for ready in connection.wait([member.pipe for member in self._members.values()]):
            number = numbers[id(ready)]
            yield number, self._hear(number)

    def _hear(self, worker: int) -> Answer | Lost:
        member = self._members[worker]
        try:
            return member.pipe.recv()
        except (EOFError, ConnectionError):
            member.process.join(10)
            member.pipe.close()
            reason = f"exit status {member.process.exitcode}"
            _log.warning("scoring worker %d died (%s); its candidates are scored again", worker, reason)
            return Lost(reason)

    def close(self) -> None:
        """Ask all to leave, then see to it."""
        for member in self._members.values():
            member.process.terminate()
        for member in self._members.values():
            member.process.join(10)
            member.pipe.close()
        self._folder.cleanup()


def serve(
    pipe: "connection.Connection[Answer, Task | None]", blueprint: Blueprint, path: str, device: str, threads: int
) -> None:  # fmt: skip
    """A worker's life: build the engine, answer tasks until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    torch.set_num_threads(threads)
    engine = unpack(blueprint, torch.load(path, weights_only=True, mmap=True), device)
    ahead = 1 if device.startswith("cuda") else 0  # a GPU works on one candidate while the next is sliced
    waiting: deque[Callable[[], Answer]] = deque()
    try:
        while True:
            if len(waiting) > ahead or (waiting and not pipe.poll()):
                pipe.send(waiting.popleft()())
            elif task := pipe.recv():
                waiting.append(begin(engine, task))
    except (EOFError, BrokenPipeError, ConnectionError):
        return  # the parent is gone


def begin(engine: Engine, task: Task) -> Callable[[], Answer]:
    """Queue a measurement; what is returned waits for it, or says why there is none."""
    try:
        wait = engine.launch(task.plan, task.rung, task.batch_size)
    except Exception as error:  # whatever it is, the parent must hear of it
        failed = _failure(task, error)
        return lambda: failed

    def finish() -> Answer:
        try:
            return Answer(task.run, task.candidate, wait())
        except Exception as error:  # a GPU's errors surface here
            return _failure(task, error)

    return finish


def _failure(task: Task, error: Exception) -> Answer:
    if is_out_of_memory(error):
        return Answer(task.run, task.candidate, out_of_memory=str(error) or "out of memory")
    return Answer(task.run, task.candidate, failure=f"{type(error).__name__}: {error}")
