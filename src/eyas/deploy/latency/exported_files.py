"""Latency of ONNX files, measured side by side in equal sessions of ONNX Runtime.

The runs interleave (A B A B ...), so that a machine that slows down or speeds up meanwhile does so for all.
"""

import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from eyas.deploy import onnx_runtime
from eyas.parallel import cores


def measure(
    files: Mapping[str, Path],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    runs: int = 200,
    batch: int = 1,
    threads: int = 1,
) -> dict[str, Any]:
    """Median, quartiles and 95th percentile of each file's run time, in milliseconds per run of ``batch`` images.

    Args:
        files: ONNX file by name.
        shapes: of one image, ``(C, H, W)``, by the file's name.
        runs: timed runs per file, after a tenth as many to warm up.
        batch: images per run.
        threads: intra-op threads of every session.

    Returns:
        ``milliseconds`` (``{name: {"median", "q25", "q75", "p95"}}``), ``runs``, ``batch``, ``threads``, ``runtime``,
        ``cpu``, ``cores``.
    """
    import onnxruntime

    sessions = {name: onnx_runtime.session(path, threads) for name, path in files.items()}
    images_NCHW = {
        name: np.random.default_rng(0).standard_normal((batch, *shapes[name]), dtype=np.float32) for name in files
    }
    times: dict[str, list[float]] = {name: [] for name in files}
    warm_up = max(1, runs // 10)
    for turn in range(warm_up + runs):
        for name, opened in sessions.items():
            seconds = _time(opened, images_NCHW[name])
            if turn >= warm_up:
                times[name].append(seconds)
    return {
        "milliseconds": {name: _summary(seconds) for name, seconds in times.items()},
        "runs": runs,
        "batch": batch,
        "threads": threads,
        "runtime": f"onnxruntime {onnxruntime.__version__}",
        "cpu": cpu_name(),
        "cores": cores(),
    }


def cpu_name() -> str:
    """What the processor calls itself; latencies of different processors do not compare."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _time(opened: Any, image_NCHW: np.ndarray[Any, Any]) -> float:
    """Seconds of one run."""
    feed = {opened.get_inputs()[0].name: image_NCHW}
    start = time.perf_counter()
    opened.run(None, feed)
    return time.perf_counter() - start


def _summary(seconds: list[float]) -> dict[str, float]:
    milliseconds = np.asarray(seconds) * 1e3
    q25, median, q75, p95 = np.percentile(milliseconds, [25, 50, 75, 95]).tolist()
    return {"median": median, "q25": q25, "q75": q75, "p95": p95}
