"""How many cores there are, how many threads share them, and work done ahead by a few threads, handed out in order."""

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_SMALL_BATCH_MACS = 1e9


def cores() -> int:
    """Cores that this process may use: those of its affinity where the system tells, else all; at least 1."""
    affinity = getattr(os, "sched_getaffinity", None)
    return (len(affinity(0)) if affinity else os.cpu_count()) or 1


def share_threads(cores: int, *, workers: int = 1, wanted: int | None = None, macs: float = math.inf) -> int:
    """Torch threads of each of ``workers``, at least 1.

    Measured on two cores with 8 x 8 images: one thread is as fast as two on an idle machine, and many times faster on a
    busy one, where threads wait for each other (45 candidates scored per second against 3 to 26).

    Args:
        cores: how many there are to share.
        workers: processes that work side by side.
        wanted: threads in all, instead of ``cores``; overrules what follows.
        macs: of one batch; below a billion, one is too small to be worth dividing among threads.
    """
    if not wanted and macs < _SMALL_BATCH_MACS:
        return 1
    return max(1, (wanted or cores) // workers)


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], *, threads: int, ahead: int
) -> Iterator[Result]:
    """``map`` over threads: results in the order of ``items``, at most ``ahead`` of them computed early.

    An exception is raised where its result would have come; what was begun is finished, the rest dropped.
    """
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="eyas-data")
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
