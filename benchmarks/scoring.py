"""The published scoring procedure against ours, judged by what counts: accuracy after fine-tuning.

    python -m benchmarks.scoring --model resnet20 --share 0.5 --candidates 40

needs EYAS_DATA (CIFAR-10 as Parquet, pretrained weights). Every candidate is scored by both procedures and fine-tuned
once, in the same process; what is finished is kept in --work, so that a stopped run goes on. Times are CPU seconds of
one thread, which other load on the machine disturbs least.

Published (EagleEye, arXiv:2007.02491, as its code does it): 102 batches of 128 in train mode with momentum 0.1 and no
reset, then top-1 on 10,000 images rounded to three decimals; here with decoded images and no augmentation.
"""

import argparse
import copy
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import eyas
import models
from benchmarks.common import publish, table
from eyas.calibrators import Calibrator
from eyas.checkpoint import load_checkpoint
from eyas.config import FetchParams, PipelineParams
from eyas.criteria import Criterion
from eyas.data import open_dataset
from eyas.progress import silent
from eyas.samplers import Sampler
from eyas.scorers import Scorer
from eyas.scoring import DEFAULT_RUNGS, Rung, WidthPlans
from eyas.scoring.diagnostics import kendall_tau
from eyas.scoring.engine import Engine, Settings, dense_outputs
from eyas.scoring.images import Images, prepare
from eyas.search import Budget
from tasks.fetch import fetch

WEIGHTS = {"resnet20": "resnet20-12fca82f.th", "resnet56": "resnet56-4bfd9763.th"}
STEPS, BATCH, TEST = 60, 128, 5_000
RACED = 200
VARIANTS = {
    "fused, 256 images": Rung(images=256),
    "fused, 512 images": Rung(images=512),
    "fused, 1,024 images": Rung(images=1024),
    "held out, 1,024 + 2,048 images": Rung(images=2048, calibration_images=1024, mode="held_out"),
}


@dataclass
class Bench:
    """The dense network, its candidates and all images, normalised."""

    model: nn.Module
    space: Any
    plans: WidthPlans
    images: Images
    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


def prepare_bench(given: argparse.Namespace, work: Path) -> Bench:
    """Fetch CIFAR-10 once, load the network, draw the candidates."""
    name, share = given.model, given.share
    root = Path(os.environ["EYAS_DATA"])
    source = FetchParams(
        train=str(root / "cifar10_jpeg/train.parquet"),
        test=str(root / "cifar10_jpeg/test.parquet"),
        calibration_fraction=0.27,
        score_fraction=0.21,
    )
    if not (given.work / "fetch/manifest.json").exists():
        fetch(PipelineParams(fetch=source), given.work, silent)
    dataset = open_dataset(given.work / "fetch")
    parts = {part: dataset.split(part) for part in ("train", "calibration", "score", "test")}
    data = {part: (dataset.normalise(split.images()), split.labels) for part, split in parts.items()}
    model = models.build(name, 10)
    load_checkpoint(model, given.checkpoint or root / "weights" / WEIGHTS[name])
    space = eyas.trace(model.eval(), (data["test"][0][:1],))
    drawn = work / "widths.npy"
    if not drawn.exists():
        sampler = Sampler.parse({"kind": "budget", "floor": 0})  # the whole breadth of the space, thin layers too
        np.save(drawn, sampler.ask(space, Budget.of(space, "macs", share), given.candidates, seed=0))
    widths = np.load(drawn)
    images = prepare(data["calibration"][0], data["score"][0][:10_000], data["score"][1][:10_000], seed=0)
    plans = WidthPlans(widths, space.planner(Criterion.parse("l1_norm")))
    return Bench(model, space, plans, images, data["train"], data["test"])


def published(bench: Bench, plan: Any) -> float:
    """The published score."""
    small = eyas.prune(bench.model, bench.space, plan)
    batches = bench.images.calibration[: 102 * 128].split(128)
    Calibrator.parse("moving_average")(small, batches)
    return round(accuracy(small, bench.images.scoring, bench.images.labels), 3)


@torch.inference_mode()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor | None) -> float:
    """Top-1."""
    assert labels is not None
    right = [(model.eval()(x).argmax(1) == y).sum() for x, y in zip(images.split(128), labels.split(128), strict=True)]
    return float(sum(right)) / len(images)


def finetuned(bench: Bench, plan: Any, rate: float) -> float:
    """Test accuracy after the fixed recipe: recalibrated, 60 steps of SGD, the learning rate's cosine to zero."""
    torch.manual_seed(0)
    small = eyas.prune(bench.model, bench.space, plan).to(memory_format=torch.channels_last)
    Calibrator.parse("pooled")(small, bench.images.calibration[:1024].split(128))
    optimiser = torch.optim.SGD(small.parameters(), rate, momentum=0.9, weight_decay=1e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    order = torch.randperm(len(bench.train[0]), generator=torch.Generator().manual_seed(1))
    small.train()
    for rows in order[: STEPS * BATCH].split(BATCH):
        images = bench.train[0][rows].contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            logits = small(images)
        functional.cross_entropy(logits.float(), bench.train[1][rows]).backward()
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
    test = bench.test[0][:TEST].contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        return accuracy(small, test, bench.test[1][:TEST])


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """A result and the CPU seconds it took."""
    start = time.process_time()
    return work(), time.process_time() - start


def measure(bench: Bench, engine: Engine, number: int, work: Path) -> dict[str, Any]:
    """One candidate through everything; goodness per image goes to a file."""
    plan, row = bench.plans[number], {"candidate": number, "widths": bench.plans.widths[number].tolist()}
    goodness = {}
    for name, rung in VARIANTS.items():
        measured, seconds = timed(lambda rung=rung: engine.measure(plan, rung, 128))
        row[name] = [measured.score, seconds, measured.accuracy]
        goodness[name] = measured.goodness
    unlabelled = copy.copy(engine)
    for kind in ("dense_kl", "dense_mse"):
        unlabelled.settings = Settings(Calibrator.parse("pooled"), Scorer.parse(kind))
        row[kind] = unlabelled.measure(plan, Rung(images=512), 128).score
    np.savez(work / f"goodness-{number}.npz", **goodness)
    return row


def read(work: Path, kind: str) -> dict[int, dict[str, Any]]:
    """What is finished, by candidate, whichever process finished it."""
    lines = [line for path in work.glob(f"{kind}-*.jsonl") for line in path.read_text().splitlines()]
    return {row["candidate"]: row for row in map(json.loads, lines)}


def run(bench: Bench, work: Path, rate: float, part: int, parts: int) -> list[dict[str, Any]]:
    """This process's share of the candidates, scored and then fine-tuned; what was finished earlier is read back."""
    engine = Engine(
        bench.model, bench.space, bench.images, Settings(Calibrator.parse("pooled"), Scorer.parse("cross_entropy"))
    )
    engine.images = Images(**{**vars(engine.images), "dense": dense_outputs(engine, 128)})
    tuned = f"tuned{rate:g}"

    def score(number: int) -> dict[str, Any]:
        return measure(bench, engine, number, work)

    def tune(number: int) -> dict[str, Any]:
        return {"candidate": number, "finetuned": finetuned(bench, bench.plans[number], rate)}

    def rival(number: int) -> dict[str, Any]:
        value, seconds = timed(lambda: published(bench, bench.plans[number]))
        return {"candidate": number, "published": value, "published_seconds": seconds}

    for kind, work_on in (("rows", score), (tuned, tune), ("published", rival)):
        for number in range(part, len(bench.plans), parts):
            if number not in read(work, kind):
                row = work_on(number)
                with (work / f"{kind}-{part}.jsonl").open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(f"{kind}: candidate {number + 1}/{len(bench.plans)}", flush=True)
    return finished(work, rate)


def finished(work: Path, rate: float) -> list[dict[str, Any]]:
    """The candidates that are through with everything."""
    scored, trained, rivals = (read(work, kind) for kind in ("rows", f"tuned{rate:g}", "published"))
    return [scored[n] | trained[n] | rivals[n] for n in sorted(set(scored) & set(trained) & set(rivals))]


def record(work: Path, candidates: int, path: Path) -> None:
    """Goodness per image of every candidate, fused and held out, for tests of the race: ``(candidates, images)``."""
    found = [np.load(work / f"goodness-{number}.npz") for number in range(candidates)]
    fused, held_out = (np.stack([f[list(VARIANTS)[i]] for f in found]).astype(np.float16) for i in (2, 3))
    np.savez_compressed(path, fused=fused, held_out=held_out)


def interval(scores: np.ndarray, truth: np.ndarray) -> str:
    """Kendall's tau with a 95 % bootstrap interval over candidates."""
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, len(truth), len(truth)) for _ in range(1000)]
    low, high = np.nanquantile([kendall_tau(scores[d], truth[d]) for d in draws], [0.025, 0.975])
    return f"{kendall_tau(scores, truth):.2f} ({low:.2f} to {high:.2f})"


def race(bench: Bench, share: float, count: int, rate: float) -> tuple[float, float, float]:
    """Images and CPU seconds per candidate of the default race over ``count`` candidates; its winner, fine-tuned."""
    sampler = Sampler.parse({"kind": "budget", "floor": 0})
    widths = sampler.ask(bench.space, Budget.of(bench.space, "macs", share), count, seed=1)
    plans, images = WidthPlans(widths, bench.plans.planner), bench.images
    given = (images.calibration, images.scoring, images.labels)
    found, seconds = timed(lambda: eyas.score(bench.model, bench.space, plans, *given))
    costs = np.cumsum([rung.cost() for rung in DEFAULT_RUNGS])
    return float(costs[found.rung].mean()), seconds / count, finetuned(bench, plans[found.winner], rate)


def report(rows: list[dict[str, Any]], given: argparse.Namespace, raced: tuple[float, float, float] | None) -> None:
    """The table, and its file."""
    name, share = given.model, given.share
    truth = np.array([row["finetuned"] for row in rows])
    theirs = np.array([row["published"] for row in rows])
    cost = float(np.mean([row["published_seconds"] for row in rows]))
    lines = [("published: moving average, top-1", 23_056, cost, 1.0, interval(theirs, truth), truth[theirs.argmax()])]
    for variant, rung in VARIANTS.items():
        scores, seconds, top1 = (np.array([row[variant][i] for row in rows]) for i in range(3))
        mean = float(seconds.mean())
        winner = truth[scores.argmax()]
        lines.append((f"{variant}, cross-entropy", rung.cost(), mean, cost / mean, interval(scores, truth), winner))
        lines.append((f"{variant}, top-1", rung.cost(), mean, cost / mean, interval(top1, truth), truth[top1.argmax()]))
    for kind in ("dense_kl", "dense_mse"):
        scores = np.array([row[kind] for row in rows])
        lines.append(
            (f"fused, 512 images, {kind} (no labels)", 512, "", "", interval(scores, truth), truth[scores.argmax()])
        )
    if raced:
        images, seconds, winner = raced
        lines.append((f"the default race over {RACED} candidates", images, seconds, cost / seconds, "", winner))
    notes = [
        f"{name} on CIFAR-10 (JPEG copies), {len(rows)} candidates at {share:.0%} of the MACs, one draw without "
        "a floor on widths, uniform widths among them",
        "dense network: "
        + (
            "adapted to the JPEG copies by the baseline stage" if given.checkpoint else "the public checkpoint as it is"
        ),
        f"fine-tuning: recalibrated, {STEPS} steps of {BATCH} images, SGD with Nesterov momentum at {given.rate:g}, "
        f"weight decay 1e-4, cosine to 0, in bfloat16; {TEST:,} test images",
        f"fine-tuned accuracy: best {truth.max():.4f}, mean {truth.mean():.4f}, standard deviation "
        f"{truth.std():.4f}, uniform widths {truth[0]:.4f}",
        "CPU seconds of one thread per candidate, slicing included; tau with a 95 % bootstrap interval",
    ]
    header = (
        "procedure",
        "images",
        "CPU s per candidate",
        "times cheaper",
        "Kendall tau with fine-tuned accuracy",
        "its winner, fine-tuned",
    )
    publish(
        f"scoring-{name}-{share:g}{'-adapted' if given.checkpoint else ''}-rate{given.rate:g}",
        f"Scoring: published against ours ({name}, {share:.0%} of the MACs)",
        notes,
        table(header, lines),
    )


def plot(rows: list[dict[str, Any]], given: argparse.Namespace) -> None:
    """Score against fine-tuned accuracy, published beside ours, into ``docs/``."""
    name, share = given.model, given.share
    adapted = "-adapted" if given.checkpoint else ""
    path = Path(__file__).parents[1] / f"docs/scoring-{name}{adapted}-rate{given.rate:g}.png"
    import matplotlib.pyplot as plt

    truth = np.array([row["finetuned"] for row in rows])
    sides = [
        ("published: top-1 after a moving average, 23,056 images", np.array([row["published"] for row in rows])),
        ("ours: cross-entropy, one fused pass, 512 images", np.array([row["fused, 512 images"][0] for row in rows])),
    ]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True, layout="constrained")
    for axis, (title, scores) in zip(axes, sides, strict=True):
        axis.scatter(scores, truth, s=22, color="#2a6f97")
        axis.scatter(scores[:1], truth[:1], s=60, facecolors="none", edgecolors="#d1495b", label="uniform widths")
        axis.set_title(f"{title}\nKendall tau {kendall_tau(scores, truth):.2f}", fontsize=9)
        axis.set_xlabel("score before any training")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("test accuracy after fine-tuning")
    axes[0].legend(fontsize=8)
    figure.suptitle(
        f"{name}, CIFAR-10, {len(rows)} candidates at {share:.0%} of the MACs, rate {given.rate:g}", fontsize=10
    )
    figure.savefig(path, dpi=90)


def main() -> None:
    """Measure, or go on measuring, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="resnet20", choices=WEIGHTS)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--candidates", type=int, default=40)
    parser.add_argument("--work", type=Path, default=Path(".eyas/bench"))
    parser.add_argument("--checkpoint", type=Path, help="the dense network, adapted to this data by the baseline stage")
    parser.add_argument("--finished-only", action="store_true", help="measure nothing: report what is in --work")
    parser.add_argument("--rate", type=float, default=0.01, help="peak learning rate of the fine-tuning")
    parser.add_argument("--part", nargs=2, type=int, default=(0, 1), metavar=("NUMBER", "OF"), help="share the work")
    parser.add_argument("--record", type=Path, help="write the goodness per image there, for tests")
    given = parser.parse_args()
    torch.set_num_threads(1)
    work = given.work / f"{given.model}-{given.share:g}{'-adapted' if given.checkpoint else ''}"
    work.mkdir(parents=True, exist_ok=True)
    if given.finished_only:
        rows = finished(work, given.rate)
        report(rows, given, None)
        plot(rows, given)
        return
    bench = prepare_bench(given, work)
    rows = run(bench, work, given.rate, *given.part)
    if given.record:
        record(work, given.candidates, given.record)
    if len(rows) == len(bench.plans):
        report(rows, given, race(bench, given.share, RACED, given.rate))
        plot(rows, given)


if __name__ == "__main__":
    main()
