"""Measure a latency profile on the device itself; needs Python 3.10, onnxruntime, numpy, and no file but the plan.

    python eyas_profile.py PLAN --out device.json [--threads 1] [--batch 1]

``eyas profile --plan PLAN`` wrote the folder PLAN: ``plan.json`` holds every layer as a small ONNX model, and beside it
lie a few whole networks. What was measured is kept beside the result: started again, the script goes on where it was.
"""

import argparse
import base64
import hashlib
import json
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

VERSION = 1
KIND = "eyas latency table"
PASSES, ROUNDS, BURST = 2, 3, 5
"""Each model is opened in so many passes; in each it has so many bursts, of at most so many timed runs."""
LONGEST = 0.02
"""Seconds of a burst: slow models have fewer runs."""
TOGETHER = 16
"""Models that are open at the same time and take turns."""

Run = Callable[[], Any]
Opener = Callable[[bytes | str, int, int], Run]
"""From an ONNX model (its bytes, or the path of its file), threads and batch to a call that runs it."""


def open_onnx(model: bytes | str, threads: int, batch: int) -> Run:
    """A call that runs a model in ONNX Runtime on the CPU, on noise; sizes that the model leaves free are ``batch``."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    noise, feed = np.random.default_rng(0), {}
    for entry in session.get_inputs():
        shape = [size if isinstance(size, int) else batch for size in entry.shape]
        feed[entry.name] = noise.standard_normal(shape, dtype=np.float32)
    return lambda: session.run(None, feed)


def onnx_version() -> str:
    """What is installed."""
    import onnxruntime

    return f"onnxruntime {onnxruntime.__version__}"


def header(runtime: str, version: str, threads: int, batch: int) -> dict[str, Any]:
    """What the times of a table hold for."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count()
    device = {"cpu": cpu_name(), "cores": cores, "machine": platform.machine(), "system": platform.system()}
    how = {"runtime": runtime, "runtime_version": version, "threads": threads, "batch": batch, "device": device}
    return {"kind": KIND, "version": VERSION, **how}


def cpu_name() -> str:
    """What the processor calls itself; latencies of different processors do not compare."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    fields = dict([part.strip() for part in line.split(":", 1)] for line in reversed(lines) if ":" in line)
    names = (fields.get(name) for name in ("model name", "Model", "Hardware"))
    return next(filter(None, names), None) or platform.processor() or platform.machine()


def time_together(runs: list[Run]) -> list[float]:
    """Milliseconds of each: of several bursts, which take turns, that with the smallest median."""
    bursts: list[list[float]] = [[] for _ in runs]
    for _ in range(ROUNDS):
        for run, medians in zip(runs, bursts, strict=True):
            first = _seconds(run)  # warms up, and tells how many fit a burst
            count = max(1, min(BURST, int(LONGEST / max(first, 1e-9))))
            medians.append(statistics.median(_seconds(run) for _ in range(count)))
    return [1e3 * min(medians) for medians in bursts]


def _seconds(run: Run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


class MeasuredTimes:
    """What was measured so far, a JSON line each; a line that was cut off is measured again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.times: dict[str, dict[int, float]] = {}
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                key, turn, milliseconds = json.loads(line)
                self.times.setdefault(key, {})[turn] = float(milliseconds)
            except (ValueError, TypeError):
                continue

    def add(self, turn: int, times: dict[str, float]) -> None:
        """Keep what one pass measured; begins a new line, for the last one may have been cut off."""
        with self.path.open("a") as file:
            for key, milliseconds in times.items():
                self.times.setdefault(key, {})[turn] = milliseconds
                file.write("\n" + json.dumps([key, turn, milliseconds]))

    def __getitem__(self, key: str) -> float:
        return round(min(self.times[key].values()), 6)


def measure(
    plan: dict[str, Any],
    folder: Path,
    journal: MeasuredTimes,
    open_model: Opener,
    *,
    threads: int = 1,
    batch: int = 1,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> dict[str, Any]:
    """Entries and networks of a plan with their milliseconds; what the journal holds is not measured again."""
    layers = {
        f"{entry['layer']} {i} {o}": base64.b64decode(model)
        for entry in plan["entries"]
        for i, row in zip(entry["in"], entry["models"], strict=True)
        for o, model in zip(entry["out"], row, strict=True)
    }
    files = {hashlib.sha256((folder / one["file"]).read_bytes()).hexdigest(): one for one in plan["networks"]}
    points: list[tuple[str, bytes | str]] = [*layers.items()]
    points += [(key, str(folder / one["file"])) for key, one in files.items()]
    random.Random(0).shuffle(points)  # so that a busy moment of the machine hits no layer as a whole
    for turn in range(PASSES):
        todo = [point for point in points if turn not in journal.times.get(point[0], {})]
        for start in range(0, len(todo), TOGETHER):
            block = todo[start : start + TOGETHER]
            times = time_together([open_model(model, threads, batch) for _, model in block])
            journal.add(turn, dict(zip([key for key, _ in block], times, strict=True)))
            progress((turn + 1) * len(points) - len(todo) + start + len(block), PASSES * len(points))
    entries = [
        {**axes, "milliseconds": [[journal[f"{axes['layer']} {i} {o}"] for o in axes["out"]] for i in axes["in"]]}
        for axes in ({name: entry[name] for name in ("layer", "in", "out")} for entry in plan["entries"])
    ]
    networks = [
        {"space": one["space"], "widths": one["widths"], "milliseconds": journal[key]} for key, one in files.items()
    ]
    return {"entries": entries, "networks": networks}


def say(text: str) -> None:
    """For who watches."""
    sys.stderr.write(text)
    sys.stderr.flush()


def main() -> int:
    """Measure a plan and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=Path, help="the folder that `eyas profile --plan PLAN` wrote")
    parser.add_argument("--out", type=Path, default=Path("device.json"), help="the table to write")
    parser.add_argument("--threads", type=int, default=1, help="of the runtime")
    parser.add_argument("--batch", type=int, default=1, help="images per run")
    asked = parser.parse_args()
    if not (asked.plan / "plan.json").is_file():
        parser.error(f"{asked.plan} is no plan: it holds no plan.json")
    if asked.out.is_dir() or not asked.out.absolute().parent.is_dir():
        parser.error(f"--out {asked.out}: {'is a folder' if asked.out.is_dir() else 'its folder is not there'}")
    if min(asked.threads, asked.batch) < 1:
        parser.error("--threads and --batch are 1 at least")
    how = header("onnx", onnx_version(), asked.threads, asked.batch)
    digest = hashlib.sha256(json.dumps(how, sort_keys=True).encode()).hexdigest()[:12]
    journal = MeasuredTimes(asked.out.with_name(f"{asked.out.name}.{digest}.jsonl"))
    plan = json.loads((asked.plan / "plan.json").read_text())
    how |= measure(
        plan, asked.plan, journal, open_onnx, threads=asked.threads, batch=asked.batch,
        progress=lambda done, total: say(f"\r{done} of {total} measured"),
    )  # fmt: skip
    asked.out.write_text(json.dumps(how))
    say(f"\n{asked.out} written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
