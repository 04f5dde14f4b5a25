"""Times of several calls side by side.

The runs interleave (A B A B ...), so that a machine that slows down or speeds up meanwhile does so for all.
"""

import time
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.float64]


def time_interleaved(
    calls: Mapping[str, Callable[[], object]], runs: int, warm_up: int | None = None
) -> dict[str, Seconds]:
    """Seconds of each run of each call, ``(runs,)``.

    Args:
        calls: what to time, by name.
        runs: timed runs of each.
        warm_up: runs before them that do not count; by default a tenth as many, and one at least.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    skipped = max(1, runs // 10) if warm_up is None else warm_up
    for turn in range(skipped + runs):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn >= skipped:
                seconds[name].append(time.perf_counter() - start)
    return {name: np.asarray(times) for name, times in seconds.items()}


def summary(seconds: Seconds) -> dict[str, float]:
    """Median, quartiles and the two high percentiles, in milliseconds."""
    names, shares = ("median", "q25", "q75", "p95", "p99"), (50, 25, 75, 95, 99)
    return dict(zip(names, np.percentile(seconds * 1e3, shares).tolist(), strict=True))
