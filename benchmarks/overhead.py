"""Engine time over the bare forward time of the same sliced networks on the same images; target 1.15.

    python -m benchmarks.overhead

The engine slices, calibrates, forwards and judges. The bare loop only forwards: networks sliced beforehand, images in
the same batches and the same memory layout, batch-norm in the same mode. Both alternate in one process on one thread;
CPU seconds, which other load disturbs least. Random images and weights.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

import eyas
import models
from benchmarks.common import publish, table
from eyas.calibration import Calibrator
from eyas.calibration.batchnorm import batch_statistics, evaluation_mode, track_statistics
from eyas.calibration.recalibrate import even_batches
from eyas.pruning.criteria import Criterion
from eyas.sampling.budget import Budget
from eyas.sampling.samplers import Sampler
from eyas.scoring import Rung, WidthPlans
from eyas.scoring.engine import Engine, ScoringMethod
from eyas.scoring.image_sets import prepare_images
from eyas.scoring.scorers import Scorer

CASES = {
    "resnet8, 8 x 8": ("resnet8", {"width": 16, "in_channels": 1}, (1, 8, 8)),
    "ResNet-20, 32 x 32": ("resnet20", {}, (3, 32, 32)),
    "MobileNetV2, 32 x 32": ("mobilenet_v2", {}, (3, 32, 32)),
}
RUNGS = {
    "fused, 512": Rung(images=512),
    "held out, 256 + 256": Rung(images=256, calibration_images=256, mode="held_out"),
}


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


@torch.inference_mode()
def bare(engine: Engine, small: nn.Module, rung: Rung) -> None:
    """Forward passes and nothing else."""
    if rung.mode == "held_out":
        with track_statistics(small, momentum=1.0):
            for batch in even_batches(engine.images.calibration[: rung.calibration_images], 128):
                small(batch)
    with batch_statistics(small) if rung.mode == "fused" else evaluation_mode(small):
        for batch in even_batches(engine.images.scoring[: rung.images], 128):
            small(batch)


def measure(case: str, candidates: int) -> list[tuple[object, ...]]:
    """One row per rung."""
    name, arguments, shape = CASES[case]
    generator = torch.Generator().manual_seed(0)
    images = prepare_images(
        torch.randn(256, *shape, generator=generator),
        torch.randn(512, *shape, generator=generator),
        torch.randint(0, 10, (512,), generator=generator),
        seed=0,
    )
    model = models.build(name, 10, **arguments).eval()
    space = eyas.trace(model, (images.scoring[:1],))
    widths = Sampler.parse("budget").ask(space, Budget.of(space, "macs", 0.5), candidates, seed=0)
    plans = WidthPlans(widths, space.planner(Criterion.parse("l1_norm")))
    engine = Engine(model, space, images, ScoringMethod(Calibrator.parse("pooled"), Scorer.parse("cross_entropy")))
    rows = []
    for title, rung in RUNGS.items():
        ratios, spent = [], []
        for plan in plans:
            small = eyas.prune(engine.model, space, plan)
            bare(engine, small, rung)  # warm: the engine's candidate reuses what torch caches for these shapes
            forward = min(seconds(lambda small=small, rung=rung: bare(engine, small, rung)) for _ in range(2))
            scored = min(seconds(lambda plan=plan, rung=rung: engine.measure(plan, rung, 128)) for _ in range(2))
            ratios.append(scored / forward)
            spent.append(scored)
        low, high = np.quantile(ratios, [0.25, 0.75])
        rows.append((case, title, float(np.mean(spent)), float(np.median(ratios)), f"{low:.3f} to {high:.3f}"))
    return rows


def main() -> None:
    """All cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for case in CASES for row in measure(case, args.candidates)]
    header = ("network", "rung, images", "engine CPU s per candidate", "engine / bare, median", "quartiles")
    notes = [f"{args.candidates} candidates at half the MACs, batches of 128, one thread; target <= 1.15"]
    publish("overhead", "Scoring overhead over bare forward passes", notes, table(header, rows))


if __name__ == "__main__":
    main()
