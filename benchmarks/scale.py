"""Scoring from 100 to 100,000 candidates of the digits network: time and peak memory, one worker and two.

    python -m benchmarks.scale --largest 100000
    python -m benchmarks.scale --speedup 120

Every size runs in a process of its own, with a journal, one thread per worker, 64 images per candidate on the first
rung. Memory is the largest resident set of the scoring process, and of its largest worker. ``--speedup`` compares two
workers with one on ResNet-20 instead, 512 images of 32 x 32 per candidate, start-up included.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

import eyas
import models
from benchmarks.common import publish, table
from eyas.pruning.criteria import Criterion
from eyas.sampling.budget import Budget
from eyas.sampling.samplers import Sampler
from eyas.scoring import Rung, ScoreOptions, WidthPlans


@dataclass(frozen=True)
class Case:
    """A network, its images and its race."""

    network: str
    arguments: dict[str, int]
    shape: tuple[int, int, int]
    rungs: tuple[Rung, ...]


FINALS = Rung(images=256, calibration_images=128, mode="held_out")
CASES = {
    "digits": Case("resnet8", {"width": 16, "in_channels": 1}, (1, 8, 8), (Rung(images=64, keep=16), FINALS)),
    "cifar": Case("resnet20", {}, (3, 32, 32), (Rung(images=512, keep=2), FINALS)),
}


def measure(case: Case, count: int, workers: int) -> dict[str, float]:
    """One race, in this process; the network and images are made first and are not timed."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    calibration, scoring = (torch.randn(n, *case.shape, generator=generator) for n in (128, 512))
    labels = torch.randint(0, 10, (512,), generator=generator)
    model = models.build(case.network, 10, **case.arguments).eval()
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
            rungs=case.rungs,
            options=ScoreOptions(workers=workers, threads=1, journal=journal),
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
    parser.add_argument("--speedup", type=int, metavar="CANDIDATES", help="two workers against one on ResNet-20")
    parser.add_argument("--one", nargs=3, metavar=("CASE", "CANDIDATES", "WORKERS"), help="a single measurement")
    args = parser.parse_args()
    if args.one:
        case, count, workers = args.one
        print(json.dumps(measure(CASES[case], int(count), int(workers))))
    elif args.speedup:
        speedup(args.speedup)
    else:
        scale(args.largest, args.largest_divided)


def alone(case: str, count: int, workers: int) -> dict[str, float]:
    """A measurement in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scale", "--one", case, str(count), str(workers)]
    measured: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return measured


def speedup(count: int) -> None:
    """Two workers of one thread against one, in turns."""
    rows = []
    for turn in range(1, 4):
        one, two = (alone("cifar", count, workers)["seconds"] for workers in (1, 2))
        rows.append((turn, one, two, one / two))
        print(rows[-1], file=sys.stderr, flush=True)
    notes = [
        f"ResNet-20 on 32 x 32 images, {count} candidates, 512 images each, two finalists held out; start-up included"
    ]
    header = ("turn", "one worker, s", "two workers, s", "times faster")
    publish("speedup", "Two workers of one thread against one", notes, table(header, rows))


def scale(largest: int, largest_divided: int) -> None:
    """All sizes, one worker and two."""
    rows = []
    sizes = [size for size in (100, 1_000, 10_000, 100_000) if size <= largest]
    for workers in (1, 2):
        for size in sizes if workers == 1 else [s for s in sizes if s <= largest_divided]:
            measured = alone("digits", size, workers)
            rate = measured["candidates"] / measured["seconds"]
            worker = measured["worker"] if workers > 1 else ""
            each = 1000 * measured["cpu"] / measured["candidates"]
            rows.append((workers, measured["candidates"], measured["seconds"], rate, each, measured["own"], worker))
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
