"""Workers that are processes of this machine: one per GPU, or with the cores divided among them."""

import logging
import os
import pickle
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context, resource_tracker
from multiprocessing.context import SpawnProcess
from typing import IO, TYPE_CHECKING

import torch
from torch import Tensor

from eyas.errors import EyasError, StorageError
from eyas.scoring.workers.dispatch import WorkerLost, WorkerPool, error_summary
from eyas.scoring.workers.process import BLUEPRINT, InheritedFile, run_worker
from eyas.scoring.workers.task import ScoringTask, TaskResult
from eyas.scoring.workers.transfer import Blueprint

if TYPE_CHECKING:
    from eyas.pruning.plan import PruningPlan

_log = logging.getLogger(__name__)
_PATIENCE_SECONDS = 10.0
_LONGEST_TRACEBACK = 10_000


@dataclass
class _Process:
    process: SpawnProcess
    pipe: "connection.Connection[ScoringTask, TaskResult]"
    errors: IO[bytes]
    """What the process writes to its standard error."""
    has_answered: bool = False


class ProcessPool(WorkerPool):
    """Spawned processes; the tensors lie in one file that all of them map into memory.

    The file has no name, so that nothing is left of it however this process ends.

    Args:
        blueprint, tensors: what :func:`~eyas.scoring.workers.transfer.pack` made.
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
        self._threads = threads
        gpus = torch.cuda.device_count() if device == "cuda" else 0
        self._devices = [f"cuda:{number % gpus}" if gpus else device for number in range(workers)]
        self._processes: dict[int, _Process] = {}
        self._tensors = tempfile.TemporaryFile(prefix="eyas-score-")  # noqa: SIM115
        try:
            # the blueprint, too: as an argument it would go through a pipe that blocks where a worker dies at once
            code = torch.frombuffer(bytearray(pickle.dumps(blueprint)), dtype=torch.uint8)
            _save({BLUEPRINT: code, **tensors}, self._tensors)
            for worker in range(workers):
                self.start(worker)
        except BaseException:
            self.close()
            raise

    def start(self, worker: int) -> None:
        """Spawn a process.

        Raises:
            EyasError: this process is itself being spawned, by a script without a guard.
        """
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        arguments = (theirs, InheritedFile(self._tensors), self._devices[worker], self._threads)
        process = context.Process(target=run_worker, args=arguments, name=f"eyas-score-{worker}", daemon=True)
        errors = tempfile.TemporaryFile(prefix="eyas-score-")  # noqa: SIM115
        try:
            with _redirected_stderr(errors):
                process.start()
        except AssertionError as error:  # multiprocessing's word for it
            errors.close()
            msg = "a daemonic process may not start workers: score with one worker there (`workers` 1)"
            raise EyasError(msg) from error
        except RuntimeError as error:
            errors.close()
            msg = "workers import the script that starts them: guard what it does with if __name__ == '__main__':"
            raise EyasError(msg) from error
        theirs.close()
        self._processes[worker] = _Process(process, ours, errors)

    def submit(self, worker: int, task: ScoringTask) -> None:
        """Send; a broken pipe shows again in :meth:`wait`."""
        try:
            self._processes[worker].pipe.send(task)
        except (BrokenPipeError, ConnectionError):
            _log.debug("worker %d was gone when a task came", worker)

    def wait(self) -> Iterable[tuple[int, TaskResult | WorkerLost]]:
        """Results of whoever is ready."""
        numbers = {id(member.pipe): number for number, member in self._processes.items()}
        for ready in connection.wait([member.pipe for member in self._processes.values()]):
            number = numbers[id(ready)]
            yield number, self._receive(number)

    def _receive(self, worker: int) -> TaskResult | WorkerLost:
        member = self._processes[worker]
        try:
            result = member.pipe.recv()
        except (EOFError, OSError):  # OSError: killed in the middle of a result
            return self._reap(worker, member)
        member.has_answered = True
        return result

    def _reap(self, worker: int, member: _Process) -> WorkerLost:
        """Find out why a worker died."""
        _join_or_kill([member.process])
        member.errors.seek(max(0, member.errors.seek(0, os.SEEK_END) - _LONGEST_TRACEBACK))
        text = member.errors.read().decode(errors="replace")
        member.pipe.close()
        member.errors.close()
        status = member.process.exitcode or 0
        reason = "; ".join(part for part in (_describe_exit(status), error_summary(text)) if part)
        _log.warning("scoring worker %d died (%s)\n%s", worker, reason, text)
        return WorkerLost(reason, never_started=status > 0 and not member.has_answered)

    def close(self) -> None:
        """Terminate all processes, and kill those that do not end."""
        for member in self._processes.values():
            member.process.terminate()
        _join_or_kill([member.process for member in self._processes.values()])
        for member in self._processes.values():
            member.pipe.close()
            member.errors.close()
        self._tensors.close()


def _join_or_kill(processes: Sequence[SpawnProcess]) -> None:
    """Wait for processes that should be ending, and kill those that do not."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()


def _describe_exit(status: int) -> str:
    if status == -signal.SIGKILL:
        return "killed by the system, which it does where memory is short: fewer `workers` need less"
    return f"ended by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def _save(tensors: dict[str, Tensor], file: IO[bytes]) -> None:
    """All tensors, on disk.

    Raises:
        StorageError: there is no room for them.
    """
    try:
        torch.save(tensors, file)
        file.flush()
    except (RuntimeError, OSError) as error:
        size = sum(tensor.nbytes for tensor in tensors.values())
        msg = (
            f"weights and images for the workers ({size / 1e6:.0f} MB) cannot be written to {tempfile.gettempdir()} "
            f"({error}): make room there, or set TMPDIR to a folder with more"
        )
        raise StorageError(msg) from error


@contextmanager
def _redirected_stderr(file: IO[bytes]) -> Iterator[None]:
    """What is started inside writes its standard error into ``file``, from its very first line."""
    resource_tracker.ensure_running()  # started for all processes to come, it keeps the error stream that it finds
    sys.stderr.flush()
    stderr = os.dup(2)
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
