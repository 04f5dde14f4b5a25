"""Candidates per second on one CUDA GPU (without one, a small variant on the CPU that shows the benchmark works).

    python -m benchmarks.gpu

ResNet-50 at 224 x 224 and ResNet-56 at 32 x 32, candidates at half the MACs, random images and weights. Racing: 256
images first, eight finalists on 4,096. Without racing: 1,024 images each. The share of the device's throughput is the
candidates' MACs per second over the multiply-adds per second of a large bfloat16 (CPU: float32) matrix product measured
in the same run.

Two candidates are scored before the clock starts: libraries load their kernels then. cuDNN's search for the fastest
algorithm (``torch.backends.cudnn.benchmark``) stays off: it runs anew for every shape, and every candidate has its own.
Widths are multiples of 8 (``round_to``), as tensor cores like them.
"""

import argparse
import time
from dataclasses import dataclass

import numpy as np
import torch

import eyas
import models
from benchmarks.common import publish, table
from eyas.pruning.criteria import Criterion
from eyas.sampling.budget import Budget
from eyas.sampling.samplers import Sampler
from eyas.scoring import Rung, ScoreOptions, ScoreTable, WidthPlans


@dataclass(frozen=True)
class Case:
    """A network, its images, and the rungs of both modes."""

    name: str
    edge: int
    candidates: int
    racing: tuple[Rung, ...]
    plain: tuple[Rung, ...]
    batch_size: int


ALIGNED = 8
FINALS = Rung(images=4096, calibration_images=1024, mode="held_out")
RACING = (Rung(images=256, keep=0.25), Rung(images=512, keep=8), FINALS)
PLAIN = (Rung(images=1024),)
SMALL = (Rung(images=32, keep=2), Rung(images=64, calibration_images=32, mode="held_out"))
CUDA = (
    Case("resnet50", 224, 1000, RACING, PLAIN, 256),
    Case("resnet56", 32, 1000, RACING, PLAIN, 256),
)
CPU = (Case("resnet50", 64, 4, SMALL, (Rung(images=64),), 32), Case("resnet56", 32, 8, SMALL, (Rung(images=64),), 32))


def matrix_throughput(device: str, size: int) -> float:
    """Multiply-adds per second of a square matrix product."""
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    for _ in range(3):
        a @ b
    synchronize(device)
    start = time.perf_counter()
    for _ in range(10):
        a @ b
    synchronize(device)
    return 10 * size**3 / (time.perf_counter() - start)


def synchronize(device: str) -> None:
    """Wait for the GPU."""
    if device == "cuda":
        torch.cuda.synchronize()


def macs_done(table: ScoreTable, macs: np.ndarray, rungs: tuple[Rung, ...]) -> float:
    """What all candidates took, by the images each was forwarded on."""
    per_rung = np.cumsum([rung.cost() for rung in rungs])
    return float((macs * per_rung[table.rung]).sum())


def measure(case: Case, device: str, peak: float) -> list[tuple[object, ...]]:
    """Racing and plain."""
    generator = torch.Generator().manual_seed(0)
    most = max(rung.images for rung in (*case.racing, *case.plain))
    calibration = torch.randn(min(most, 1024), 3, case.edge, case.edge, generator=generator)
    scoring = torch.randn(most, 3, case.edge, case.edge, generator=generator)
    labels = torch.randint(0, 10, (most,), generator=generator)
    model = models.build(case.name, 10).eval()
    space = eyas.trace(model, (scoring[:1],), round_to=ALIGNED)
    widths = Sampler.parse("budget").ask(space, Budget.of(space, "macs", 0.5), case.candidates, seed=0)
    plans = WidthPlans(widths, space.planner(Criterion.parse("l1_norm")))
    macs = np.asarray(space.costs(widths).macs, float)
    data, how = (calibration, scoring, labels), {"device": device, "options": ScoreOptions(batch_size=case.batch_size)}
    rows = []
    for title, rungs in (("racing", case.racing), ("no racing", case.plain)):
        eyas.score(model, space, plans[:2], *data, rungs=rungs, **how)
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        scores = eyas.score(model, space, plans, *data, rungs=rungs, **how)
        synchronize(device)
        seconds = time.perf_counter() - start
        memory = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else float("nan")
        share = macs_done(scores, macs, rungs) / seconds / peak
        rate = len(widths) / seconds
        rows.append((f"{case.name}, {case.edge} x {case.edge}", title, len(widths), seconds, rate, share, memory))
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """All cases of the device at hand."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    device = parser.parse_args().device
    torch.backends.cudnn.benchmark = False
    peak = matrix_throughput(device, 8192 if device == "cuda" else 1024)
    rows = [row for case in (CUDA if device == "cuda" else CPU) for row in measure(case, device, peak)]
    header = ("network", "mode", "candidates", "seconds", "candidates/s", "share of matrix throughput", "peak GiB")
    notes = [
        f"matrix product in the same run: {peak * 2 / 1e12:.3g} TFLOP/s",
        f"after a warm-up of two candidates; widths are multiples of {ALIGNED}; cudnn.benchmark is off",
    ]
    if device == "cpu":
        notes.append("no GPU at hand: a small variant on the CPU, no measurement of the target")
    publish(f"gpu-{device}", "Scoring on one device", notes, table(header, rows))


if __name__ == "__main__":
    main()
