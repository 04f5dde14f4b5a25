"""What a worker process does, and how it gets its files: everything that runs on the other side of the pipe."""

import pickle
import signal
from collections import deque
from collections.abc import Callable
from multiprocessing import connection, reduction
from typing import IO, Any

import torch

from eyas.scoring.workers.task import ScoringTask, TaskResult, start_task
from eyas.scoring.workers.transfer import unpack

BLUEPRINT = "blueprint"
"""Name of the pickled blueprint among the tensors."""


def run_worker(pipe: "connection.Connection[TaskResult, ScoringTask]", path: str, device: str, threads: int) -> None:
    """A worker's life: build the engine, measure tasks until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    torch.set_num_threads(threads)
    tensors = torch.load(path, weights_only=True, mmap=True)
    engine = unpack(pickle.loads(tensors.pop(BLUEPRINT).numpy()), tensors, device)  # noqa: S301
    ahead = 1 if device.startswith("cuda") else 0  # a GPU works on one candidate while the next is sliced
    queued: deque[Callable[[], TaskResult]] = deque()
    try:
        while True:
            if len(queued) > ahead or (queued and not pipe.poll()):
                pipe.send(queued.popleft()())
            elif task := pipe.recv():
                queued.append(start_task(engine, task))
    except (EOFError, BrokenPipeError, ConnectionError):
        return  # the parent is gone


class InheritedFile:
    """An open file that travels to a spawned process as the path it can be opened at there."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return _descriptor_path, (reduction.DupFd(self.file.fileno()),)


def _descriptor_path(descriptor: Any) -> str:
    return f"/dev/fd/{descriptor.detach()}"
