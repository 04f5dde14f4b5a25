"""Scoring from 100 to 100,000 candidates of the digits network: time and peak memory, one worker and two.

    python -m benchmarks.scale --largest 100000

Every size runs in a process of its own, with a journal, one thread per worker, 64 images per candidate on the first
rung. Memory is the largest resident set of the scoring process, and of its largest worker.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import eyas
import models
from benchmarks.common import publish, table
from eyas.criteria import Criterion
from eyas.samplers import Sampler
from eyas.scoring import Rung, WidthPlans
from eyas.search import Budget

RUNGS = (Rung(images=64, keep=16), Rung(images=256, calibration_images=128, mode="held_out"))


def measure(count: int, workers: int) -> dict[str, float]:
    """One race, in this process; the network and images are made first and are not timed."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    calibration, scoring = (torch.randn(n, 1, 8, 8, generator=generator) for n in (128, 256))
    labels = torch.randint(0, 10, (256,), generator=generator)
    model = models.build("resnet8", 10, width=16, in_channels=1).eval()
    space = eyas.trace(model, (scoring[:1],))
    widths = Sampler.parse("budget").ask(space, Budget.of(space, "macs", 0.5), count, seed=0)
    plans = WidthPlans(widths, space.planner(Criterion.parse("l1_norm")))
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "journal"
        start, spent = time.perf_counter(), cpu_seconds()
        eyas.score(
            model,
            space,
            plans,
            calibration,
            scoring,
            labels,
            rungs=RUNGS,
            workers=workers,
            threads=1,
            journal=journal,
        )
        seconds, spent = time.perf_counter() - start, cpu_seconds() - spent
    own, children = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {"candidates": len(widths), "seconds": seconds, "cpu": spent, "own": own / 1024, "worker": children / 1024}


def cpu_seconds() -> float:
    """Of this process and of its finished workers; unlike the time of day, other load leaves it alone."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main() -> None:
    """All sizes, then the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=100_000)
    parser.add_argument("--largest-divided", type=int, default=100_000, help="largest size for two workers")
    parser.add_argument("--one", nargs=2, type=int, metavar=("CANDIDATES", "WORKERS"), help="a single measurement")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(*given.one)))
        return
    rows = []
    sizes = [size for size in (100, 1_000, 10_000, 100_000) if size <= given.largest]
    for workers in (1, 2):
        for size in sizes if workers == 1 else [s for s in sizes if s <= given.largest_divided]:
            command = [sys.executable, "-m", "benchmarks.scale", "--one", str(size), str(workers)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            rate = found["candidates"] / found["seconds"]
            worker = found["worker"] if workers > 1 else ""
            each = 1000 * found["cpu"] / found["candidates"]
            rows.append((workers, found["candidates"], found["seconds"], rate, each, found["own"], worker))
            print(rows[-1], file=sys.stderr, flush=True)
    header = (
        "workers",
        "candidates",
        "seconds",
        "candidates/s",
        "CPU ms per candidate",
        "peak memory, MiB",
        "largest worker, MiB",
    )
    notes = ["resnet8 of width 16 on 8 x 8 images, 64 images per candidate, sixteen finalists held out; with a journal"]
    publish("scale", "Scoring from 100 to 100,000 candidates", notes, table(header, rows))


if __name__ == "__main__":
    main()
