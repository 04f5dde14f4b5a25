"""Workers that are processes of this machine: one per GPU, or with the cores divided among them."""

import logging
import os
import pickle
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context, reduction, resource_tracker
from multiprocessing.context import SpawnProcess
from typing import IO, TYPE_CHECKING, Any

import torch
from torch import Tensor

from eyas.errors import EyasError, StorageError
from eyas.scoring.engine import Engine
from eyas.scoring.workers.dispatch import Answer, DividedCrew, Lost, Task, last_words
from eyas.scoring.workers.local import is_out_of_memory
from eyas.scoring.workers.transfer import Blueprint, unpack

if TYPE_CHECKING:
    from eyas.pruning.plan import PruningPlan

_log = logging.getLogger(__name__)
_PATIENCE_SECONDS = 10.0
_CODE = "blueprint"
_LONGEST_TRACEBACK = 10_000


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: "connection.Connection[Task | None, Answer]"
    errors: IO[bytes]
    """What the process writes to its standard error."""
    has_answered: bool = False


class ProcessCrew(DividedCrew):
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
        self._members: dict[int, _Worker] = {}
        self._tensors = tempfile.TemporaryFile(prefix="eyas-score-")  # noqa: SIM115
        try:
            # the blueprint, too: as an argument it would go through a pipe that blocks where a worker dies at once
            code = torch.frombuffer(bytearray(pickle.dumps(blueprint)), dtype=torch.uint8)
            _save({_CODE: code, **tensors}, self._tensors)
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
        arguments = (theirs, _Inherited(self._tensors), self._devices[worker], self._threads)
        process = context.Process(target=serve, args=arguments, name=f"eyas-score-{worker}", daemon=True)
        errors = tempfile.TemporaryFile(prefix="eyas-score-")  # noqa: SIM115
        try:
            with _standard_error(errors):
                process.start()
        except AssertionError as error:  # multiprocessing's word for it
            errors.close()
            msg = "a daemonic process may not start workers: score with workers=1 there"
            raise EyasError(msg) from error
        except RuntimeError as error:
            errors.close()
            msg = "workers import the script that starts them: guard what it does with if __name__ == '__main__':"
            raise EyasError(msg) from error
        theirs.close()
        self._members[worker] = _Worker(process, ours, errors)

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
            answer = member.pipe.recv()
        except (EOFError, OSError):  # OSError: killed in the middle of an answer
            return self._bury(worker, member)
        member.has_answered = True
        return answer

    def _bury(self, worker: int, member: _Worker) -> Lost:
        """Find out why a worker died."""
        _end([member.process])
        member.errors.seek(max(0, member.errors.seek(0, os.SEEK_END) - _LONGEST_TRACEBACK))
        text = member.errors.read().decode(errors="replace")
        member.pipe.close()
        member.errors.close()
        status = member.process.exitcode or 0
        reason = "; ".join(part for part in (_in_words(status), last_words(text)) if part)
        _log.warning("scoring worker %d died (%s)\n%s", worker, reason, text)
        return Lost(reason, never_began=status > 0 and not member.has_answered)

    def close(self) -> None:
        """Ask all to leave, then see to it."""
        for member in self._members.values():
            member.process.terminate()
        _end([member.process for member in self._members.values()])
        for member in self._members.values():
            member.pipe.close()
            member.errors.close()
        self._tensors.close()


def _end(processes: Sequence[SpawnProcess]) -> None:
    """Wait for processes that should be ending, and kill those that do not."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()


def _in_words(status: int) -> str:
    if status == -signal.SIGKILL:
        return "killed by the system, which it does where memory is short: fewer runtime.workers need less"
    return f"ended by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


class _Inherited:
    """An open file that travels to a spawned process as the path it can be opened at there."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return _path_of, (reduction.DupFd(self.file.fileno()),)


def _path_of(descriptor: Any) -> str:
    return f"/dev/fd/{descriptor.detach()}"


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
def _standard_error(file: IO[bytes]) -> Iterator[None]:
    """What is started inside writes its standard error into ``file``, from its very first line."""
    resource_tracker.ensure_running()  # started for all processes to come, it keeps the error stream that it finds
    sys.stderr.flush()
    ours = os.dup(2)
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(ours, 2)
        os.close(ours)


def serve(pipe: "connection.Connection[Answer, Task | None]", path: str, device: str, threads: int) -> None:
    """A worker's life: build the engine, answer tasks until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    torch.set_num_threads(threads)
    tensors = torch.load(path, weights_only=True, mmap=True)
    engine = unpack(pickle.loads(tensors.pop(_CODE).numpy()), tensors, device)  # noqa: S301
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
