"""Latency of exported files, measured side by side, each in its own runtime."""

import platform
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from eyas.deploy.latency.interleaved_timing import summary, time_interleaved
from eyas.deploy.runtimes import Runtime, Session
from eyas.parallel import cores


def measure(
    files: Mapping[str, Path],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    runs: int = 200,
    batch: int = 1,
    threads: int = 1,
    runtimes: Mapping[str, Runtime] | None = None,
) -> dict[str, Any]:
    """Median, quartiles, 95th and 99th percentile of each file's run time, in milliseconds per ``batch`` images.

    Args:
        files: exported file by name.
        shapes: of one image, ``(C, H, W)``, by the file's name.
        runs: timed runs per file, after a tenth as many to warm up.
        batch: images per run; a file that takes fewer at once is run several times.
        threads: intra-op threads of every session.
        runtimes: by the file's name, where it is not the one of its suffix.

    Returns:
        ``milliseconds`` (``{name: {"median", "q25", "q75", "p95", "p99"}}``), ``runs``, ``batch``, ``threads``,
        ``runtime``, ``cpu``, ``cores``.

    Raises:
        MissingExtraError: a runtime is not installed.
        ExportError: a runtime does not take its file.
    """
    chosen = {name: (runtimes or {}).get(name) or Runtime.of(path) for name, path in files.items()}
    calls = {name: call(chosen[name].open(path, threads), (batch, *shapes[name])) for name, path in files.items()}
    return {
        "milliseconds": {name: summary(seconds) for name, seconds in time_interleaved(calls, runs).items()},
        "runs": runs,
        "batch": batch,
        "threads": threads,
        "runtime": ", ".join(dict.fromkeys(runtime.version() for runtime in chosen.values())),
        "cpu": cpu_name(),
        "cores": cores(),
    }


def call(session: Session, shape: tuple[int, ...]) -> Callable[[], object]:
    """One run of a session on images of noise of this shape, ``(N, C, H, W)``."""
    noise = np.random.default_rng(0)
    if session.input_dtype.kind == "f":
        images = noise.standard_normal(shape, dtype=np.float32).astype(session.input_dtype)
    else:
        images = noise.integers(0, 256, shape).astype(session.input_dtype)
    return partial(session.run_all, images)


def cpu_name() -> str:
    """What the processor calls itself; latencies of different processors do not compare."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
