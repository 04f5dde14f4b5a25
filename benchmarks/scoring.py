"""The published scoring procedure against ours, judged by what counts: accuracy after fine-tuning.

    python -m benchmarks.scoring --model resnet20 --share 0.5 --candidates 40 --checkpoint ADAPTED.safetensors

needs EYAS_DATA (CIFAR-10 as Parquet, pretrained weights). Every candidate is scored by both procedures and fine-tuned
once, in the same process; what is finished is kept in --work, so that a stopped run goes on. Times are CPU seconds of
one thread, which other load on the machine disturbs least.

Published (EagleEye, arXiv:2007.02491, as its code does it): 102 batches of 128 in train mode with momentum 0.1 and no
reset, then top-1 on 10,000 images rounded to three decimals; here with decoded images and no augmentation.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import eyas
from benchmarks.candidates import Bench, Recipe, bench_parser, draw, finetuned_accuracy, published_score
from benchmarks.common import publish, table
from eyas.calibration import Calibrator
from eyas.scoring import DEFAULT_RUNGS, Rung
from eyas.scoring.dense_outputs import dense_outputs
from eyas.scoring.diagnostics import kendall_tau
from eyas.scoring.engine import Engine, ScoringMethod
from eyas.scoring.image_sets import ImageSets
from eyas.scoring.scorers import Scorer

RACED = 200
RACES = {"cross_entropy": f"the default race over {RACED} candidates", "dense_probe": "the same by dense_probe"}
VARIANTS = {
    "fused, 256 images": Rung(images=256),
    "fused, 512 images": Rung(images=512),
    "fused, 1,024 images": Rung(images=1024),
    "held out, 1,024 + 2,048 images": Rung(images=2048, calibration_images=1024, mode="held_out"),
}
OURS = "fused, 512 images"
OTHERS = {"dense_probe": " (no labels)", "dense_kl": " (no labels)", "dense_mse": " (no labels)"}
Row = dict[str, Any]


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """A result and the CPU seconds it took."""
    start = time.process_time()
    return work(), time.process_time() - start


def make_engine(bench: Bench) -> Engine:
    """The engine by cross-entropy, with the dense network's outputs at hand for scorers that need them."""
    engine = Engine(bench.model, bench.space, bench.images, method("cross_entropy"))
    engine.images = ImageSets(**{**vars(engine.images), "dense": dense_outputs(engine, 128)})
    return engine


def method(scorer: str) -> ScoringMethod:
    """Pooled statistics, judged by ``scorer``."""
    return ScoringMethod(Calibrator.parse("pooled"), Scorer.parse(scorer))


def measure(bench: Bench, engine: Engine, number: int, work: Path) -> Row:
    """One candidate through every variant; the score of each image goes to a file."""
    plan, row = bench.plans[number], {"widths": bench.plans.widths[number].tolist()}
    image_scores = {}
    for name, rung in VARIANTS.items():
        measured, seconds = timed(lambda rung=rung: engine.measure(plan, rung, 128))
        row[name] = [measured.score, seconds, measured.accuracy]
        image_scores[name] = measured.image_scores
    for kind in OTHERS:
        other = Engine(bench.model, bench.space, engine.images, method(kind))
        measured, seconds = timed(lambda other=other: other.measure(plan, VARIANTS[OURS], 128))
        row[kind] = [measured.score, seconds]
    np.savez(work / f"image_scores-{number}.npz", **image_scores)
    return row


def read(work: Path, kind: str) -> dict[int, Row]:
    """What is finished, by candidate, whichever process finished it."""
    lines = [line for path in work.glob(f"{kind}-*.jsonl") for line in path.read_text().splitlines()]
    return {row["candidate"]: row for row in map(json.loads, lines)}


def run(bench: Bench, work: Path, args: argparse.Namespace) -> None:
    """This process's share of the candidates, each through everything; what was finished earlier is left alone."""
    engine = make_engine(bench)

    def tune(order: int, number: int) -> Row:
        return {"finetuned": finetuned_accuracy(bench, bench.plans[number], args.recipe, order)}

    def rival(number: int) -> Row:
        value, seconds = timed(lambda: published_score(bench, bench.plans[number]))
        return {"published": value, "published_seconds": seconds}

    kinds: dict[str, Callable[[int], Row]] = {
        "rows": lambda number: measure(bench, engine, number, work),
        "published": rival,
        **{tuned(args.recipe, order): partial(tune, order) for order in range(1, args.orders + 1)},
    }
    part, parts = args.part
    for number in range(part, len(bench.plans), parts):
        for kind, work_on in kinds.items():
            if number not in read(work, kind):
                row = {"candidate": number, **work_on(number)}
                with (work / f"{kind}-{part}.jsonl").open("a") as file:
                    file.write(json.dumps(row) + "\n")
        print(f"candidate {number + 1}/{len(bench.plans)}", flush=True)


def tuned(recipe: Recipe, order: int = 1) -> str:
    """Where accuracies after fine-tuning in one order of the images are kept."""
    return (f"order{order}-" if order > 1 else "") + f"tuned{recipe.rate:g}x{recipe.steps}"


def finished(work: Path, args: argparse.Namespace) -> list[Row]:
    """The candidates that are through with everything; ``finetuned`` is the mean over all orders of the images."""
    scored, rivals = read(work, "rows"), read(work, "published")
    trained = [read(work, tuned(args.recipe, order)) for order in range(1, args.orders + 1)]
    through = sorted(set.intersection(*map(set, (scored, rivals, *trained))))
    rows = []
    for number in through:
        runs = [results[number]["finetuned"] for results in trained]
        rows.append({**scored[number], **rivals[number], "runs": runs, "finetuned": float(np.mean(runs))})
    return rows


def record(work: Path, candidates: int, path: Path) -> None:
    """Score per image of every candidate, fused and held out, for tests of the race: ``(candidates, images)``."""
    image_scores = [np.load(work / f"image_scores-{number}.npz") for number in range(candidates)]
    fused, held_out = (np.stack([f[list(VARIANTS)[i]] for f in image_scores]).astype(np.float16) for i in (2, 3))
    np.savez_compressed(path, fused=fused, held_out=held_out)


def interval(scores: NDArray[np.float64], truth: NDArray[np.float64]) -> str:
    """Kendall's tau with a 95 % bootstrap interval over candidates."""
    return bootstrapped(lambda drawn: kendall_tau(scores[drawn], truth[drawn]), len(truth))


def bootstrapped(statistic: Callable[[NDArray[np.int64]], float], count: int) -> str:
    """A statistic of all ``count`` candidates, with its 95 % interval when candidates are drawn with replacement."""
    rng = np.random.default_rng(0)
    resampled = [statistic(rng.integers(0, count, count)) for _ in range(1000)]
    low, high = np.nanquantile(resampled, [0.025, 0.975])
    return f"{statistic(np.arange(count)):.2f} ({low:.2f} to {high:.2f})"


def leads(rows: list[Row]) -> str:
    """By how much ours are above the published tau, on the same candidates."""
    truth, theirs = column(rows, "finetuned"), column(rows, "published")
    ours = {"cross-entropy": np.array([row[OURS][0] for row in rows])}
    ours["dense_probe"] = np.array([row["dense_probe"][0] for row in rows])
    words = []
    for name, scores in ours.items():

        def lead(drawn: NDArray[np.int64], scores: NDArray[np.float64] = scores) -> float:
            return kendall_tau(scores[drawn], truth[drawn]) - kendall_tau(theirs[drawn], truth[drawn])

        words.append(f"{name} {bootstrapped(lead, len(rows))}")
    return ", ".join(words)


def race(bench: Bench, share: float, recipe: Recipe, scorer: str) -> tuple[float, float, float]:
    """A race over fresh candidates: images and CPU seconds per candidate; its winner, fine-tuned."""
    plans, images = draw(bench.space, share, RACED, seed=1_000), bench.images
    data = (images.calibration, images.scoring, images.labels)
    scores, seconds = timed(lambda: eyas.score(bench.model, bench.space, plans, *data, scorer=scorer))
    costs = np.cumsum([rung.cost() for rung in DEFAULT_RUNGS])
    return float(costs[scores.rung].mean()), seconds / RACED, finetuned_accuracy(bench, plans[scores.winner], recipe)


def results(rows: list[Row], races: dict[str, tuple[float, float, float]]) -> list[tuple[object, ...]]:
    """A line per procedure: name, images, seconds, times cheaper, tau, its winner's accuracy."""
    truth, theirs, seconds = (column(rows, name) for name in ("finetuned", "published", "published_seconds"))
    cost = float(np.nanmedian(seconds))  # where another layout was timed first, none is kept
    lines: list[tuple[object, ...]] = [
        ("published: moving average, top-1", 23_056, cost, 1.0, interval(theirs, truth), truth[theirs.argmax()])
    ]
    for variant, rung in VARIANTS.items():
        scores, seconds, top1 = (np.array([row[variant][i] for row in rows]) for i in range(3))
        typical = float(np.median(seconds))
        for metric, values in (("cross-entropy", scores), ("top-1", top1)):
            winner = truth[values.argmax()]
            lines.append(
                (f"{variant}, {metric}", rung.cost(), typical, cost / typical, interval(values, truth), winner)
            )
    for kind, words in OTHERS.items():
        scores, seconds = (np.array([row[kind][i] for row in rows]) for i in range(2))
        typical = float(np.median(seconds))
        name, winner = f"{OURS}, {kind}{words}", truth[scores.argmax()]
        lines.append((name, VARIANTS[OURS].cost(), typical, cost / typical, interval(scores, truth), winner))
    for scorer, (images, spent, winner) in races.items():
        lines.append((RACES[scorer], images, spent, cost / spent, "", winner))
    return lines


def column(rows: list[Row], name: str) -> NDArray[np.float64]:
    """One number of every row."""
    return np.array([row[name] for row in rows], float)


def report(rows: list[Row], args: argparse.Namespace, races: dict[str, tuple[float, float, float]]) -> None:
    """The table, and its file."""
    truth = column(rows, "finetuned")
    dense = "adapted to the JPEG copies by the baseline stage" if args.checkpoint else "the public checkpoint as it is"
    notes = [
        f"{args.model} on CIFAR-10 (JPEG copies), {len(rows)} candidates at {args.share:.0%} of the MACs, draw "
        f"{args.seed} without a floor on widths, uniform widths among them",
        f"dense network: {dense}",
        f"fine-tuning: recalibrated, {args.recipe}, SGD with Nesterov momentum, weight decay 1e-4, cosine to 0, in "
        "bfloat16; all 10,000 test images",
        f"fine-tuned accuracy: best {truth.max():.4f}, mean {truth.mean():.4f}, standard deviation "
        f"{truth.std():.4f}, uniform widths {truth[0]:.4f}",
        "median CPU seconds of one thread over the candidates, slicing included; tau with a 95 % bootstrap interval",
        f"tau of the fused pass over 512 images minus that of the published score, paired: {leads(rows)}",
    ]
    header = (
        "procedure",
        "images",
        "CPU s per candidate",
        "times cheaper",
        "Kendall tau with fine-tuned accuracy",
        "its winner, fine-tuned",
    )
    if args.orders > 1:
        runs = np.array([row["runs"] for row in rows])
        notes.insert(
            4,
            f"every candidate was fine-tuned {args.orders} times, in other orders of the images, and is judged by the "
            f"mean; two single fine-tunings agree with tau {interval(runs[:, 0], runs[:, 1])}, and differ by "
            f"{np.abs(runs[:, 0] - runs[:, 1]).mean():.4f} on average",
        )
    title = f"Scoring: published against ours ({args.model}, {args.share:.0%} of the MACs)"
    publish(name_of(args), title, notes, table(header, results(rows, races)))


def plot(rows: list[Row], args: argparse.Namespace) -> None:
    """Score against fine-tuned accuracy, published beside ours, into ``docs/images/``."""
    import matplotlib.pyplot as plt

    truth = column(rows, "finetuned")
    sides = [
        ("published: top-1 after a moving average\n23,056 images", column(rows, "published")),
        ("ours: cross-entropy, one fused pass\n512 images", np.array([row[OURS][0] for row in rows])),
        ("ours: dense_probe, one fused pass\n512 images, no labels", np.array([row["dense_probe"][0] for row in rows])),
    ]
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.9), sharey=True, layout="constrained")
    for axis, (title, scores) in zip(axes, sides, strict=True):
        axis.scatter(scores, 100 * truth, s=22, color="#2a6f97")
        axis.scatter(scores[:1], 100 * truth[:1], s=60, facecolors="none", edgecolors="#d1495b", label="uniform widths")
        axis.set_title(f"{title}\nKendall tau {kendall_tau(scores, truth):.2f}", fontsize=9)
        axis.set_xlabel("score before any training")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("test accuracy after fine-tuning, %")
    axes[0].legend(fontsize=8)
    words = f"{args.model}, CIFAR-10, {len(rows)} candidates at {args.share:.0%} of the MACs, {args.recipe}"
    figure.suptitle(words, fontsize=10)
    figure.savefig(Path(__file__).parents[1] / f"docs/images/{name_of(args)}.png", dpi=90)


def name_of(args: argparse.Namespace) -> str:
    """Of the result's files."""
    return f"scoring-{folder_of(args)}-{tuned(args.recipe)}" + (f"-{args.orders}orders" if args.orders > 1 else "")


def folder_of(args: argparse.Namespace) -> str:
    """What the measurements of one set of candidates are kept under."""
    return f"{args.model}-{args.share:g}{'-adapted' if args.checkpoint else ''}-draw{args.seed}"


def parse() -> argparse.Namespace:
    """The command line."""
    parser = bench_parser(__doc__, report=False)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--candidates", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--finished-only", action="store_true", help="measure nothing: report what is in --work")
    parser.add_argument("--rate", type=float, default=0.05, help="peak learning rate of the fine-tuning")
    parser.add_argument("--steps", type=int, default=204, help="of the fine-tuning; 204 are one epoch")
    parser.add_argument("--orders", type=int, default=1, help="fine-tunings of each candidate, in other orders")
    parser.add_argument("--part", nargs=2, type=int, default=(0, 1), metavar=("NUMBER", "OF"), help="share the work")
    parser.add_argument("--record", type=Path, help="write the score of each image there, for tests")
    args = parser.parse_args()
    args.recipe = Recipe(args.steps, args.rate)
    return args


def main() -> None:
    """Measure, or go on measuring, and report."""
    args = parse()
    torch.set_num_threads(1)
    work = args.work / folder_of(args)
    work.mkdir(parents=True, exist_ok=True)
    kept = {scorer: work / f"race-{scorer}-{tuned(args.recipe)}.json" for scorer in RACES}
    if not args.finished_only:
        bench = Bench.from_arguments(args, args.share, args.candidates, seed=args.seed)
        run(bench, work, args)
        if len(finished(work, args)) < len(bench.plans):
            return
        if args.record:
            record(work, args.candidates, args.record)
        for scorer, path in kept.items():
            if not path.exists():
                path.write_text(json.dumps(race(bench, args.share, args.recipe, scorer)))
    races = {scorer: json.loads(path.read_text()) for scorer, path in kept.items() if path.exists()}
    rows = finished(work, args)
    report(rows, args, races)
    plot(rows, args)


if __name__ == "__main__":
    main()
