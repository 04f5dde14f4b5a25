r"""What each recipe gains over the default at equal steps: averages, mixed images, features as a guide, and so on.

    python -m benchmarks.recipes --checkpoint ADAPTED.safetensors --shares 0.25 --steps 200 --orders 2

needs EYAS_DATA (CIFAR-10 as Parquet, pretrained weights). Uniform widths, refitted and recalibrated as the finetune
stage does it; trained by ``eyas.training.train`` on 5,120 images with the dense network as the teacher, 40 steps an
epoch (of a part of the images fewer, and more epochs). Every measurement is a line of ``results/recipes.jsonl``; what
is there is not measured again. ``--report`` writes the table of what is there.
"""

import argparse
import copy
import json
import time
from itertools import product
from typing import Any

import torch

from benchmarks.candidates import BATCH, Bench, draw, recalibrated
from benchmarks.common import RESULTS, append_row, mean_and_error, publish, read_rows, table
from benchmarks.criteria import run, uniform_widths_parser
from eyas.data import open_dataset
from eyas.pruning.criteria import Criterion
from eyas.pruning.plan import PruningPlan
from eyas.recovery import Recovery
from eyas.recovery.prune_and_refit import prune_and_refit
from eyas.training import DenseTeacher, TensorSplit, evaluate, train
from eyas.training.depth_scaling import choose_depth_scaling
from eyas.training.length import steps_per_epoch
from eyas.training.recipes import Recipe

ROWS = RESULTS / "recipes.jsonl"
KEY = ("model", "dense", "share", "recipe", "steps", "order")
"""What makes a measurement."""
STEPS_PER_EPOCH, SCORE_IMAGES = 40, 2000
CRITERION = {"kind": "weight_activation"}
RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "labels alone": {"distillation": None},
    **{f"ema_decay {decay}": {"ema_decay": decay} for decay in (0.9, 0.98)},
    **{f"mixup {alpha}": {"mixup": alpha} for alpha in (0.2, 1)},
    "cutmix 1": {"cutmix": 1.0},
    "mixup 0.2, labels alone": {"mixup": 0.2, "distillation": None},
    **{f"rand_augment {strength}": {"rand_augment": {"strength": strength}} for strength in (0.1, 0.3)},
    **{f"guidance {weight}": {"guidance": {"weight": weight}} for weight in (0.1, 1, 10)},
    **{f"guidance cka {weight}": {"guidance": {"measure": "cka", "weight": weight}} for weight in (1, 10)},
    **{
        f"guidance attention {weight}": {"guidance": {"measure": "attention", "weight": weight}}
        for weight in (1, 10, 100)
    },
    "guidance 1, labels alone": {"guidance": {"weight": 1}, "distillation": None},
    "adaptive_clip 0.02": {"adaptive_clip": 0.02},
    **{f"fraction {share}": {"fraction": share} for share in (0.5, 0.25)},
    "fraction 0.25, labels alone": {"fraction": 0.25, "distillation": None},
    **{f"lamb {rate}": {"optimizer": "lamb", "learning_rate": rate} for rate in (0.002, 0.01)},
    **{
        f"lars {trust}": {
            "optimizer": "lars",
            "learning_rate": 0.05,
            "optimizer_arguments": {"trust_coefficient": trust},
        }
        for trust in (0.02, 0.1)
    },
    "layer_freezing 2 of 9": {"layer_freezing": {}},
    "layer_freezing 2 of 9, rate 0.01": {"layer_freezing": {}, "learning_rate": 0.01},
    "depth_scaling": {"depth_scaling": True},
    **{f"frozen_statistics, rate {rate}": {"frozen_statistics": True, "learning_rate": rate} for rate in (0.002, 0.01)},
    "sandwich": {"kind": "sandwich"},
    "cosub": {"kind": "cosub"},
}
"""What ``--recipes`` may name: options of ``sgd`` beside the defaults, and ``depth_scaling``; else they are JSON."""


def measure(bench: Bench, args: argparse.Namespace) -> None:
    """Everything that is asked for and not there yet."""
    finished = {tuple(row[name] for name in KEY) for row in read_rows(ROWS)}
    splits = _splits(bench, args)
    for share in args.shares:
        widths = draw(bench.space, share, 1, seed=0).widths[0]
        plan = bench.space.plan(widths, Criterion.parse(CRITERION), data=bench.images.calibration)
        for steps, order, name in product(args.steps, args.order_seeds, args.recipes):
            key = (args.model, args.dense, share, name, steps, order)
            if key not in finished:
                options = dict(RECIPES[name] if name in RECIPES else json.loads(name))
                scaled = options.pop("depth_scaling", False)
                recipe = Recipe.parse({"kind": "sgd", "batch_size": BATCH, "precision": args.precision, **options})
                row = finetuned(bench, plan, recipe, splits, steps=steps, order=order, scaled=scaled)
                append_row(ROWS, {**dict(zip(KEY, key, strict=True)), **row})


def finetuned(
    bench: Bench,
    plan: PruningPlan,
    recipe: Recipe,
    splits: tuple[TensorSplit, TensorSplit],
    *,
    steps: int,
    order: int,
    scaled: bool = False,
) -> dict[str, float]:
    """Accuracy on all test images after training the network of ``plan`` as the finetune stage does it."""
    train_split, score_split = splits
    small, _ = prune_and_refit(
        bench.model, bench.space, plan, bench.images.calibration[:1024], recovery=Recovery.parse("least_squares"),
        recalibrate=lambda network: recalibrated(bench, network),
        losses=lambda networks: [evaluate(network, score_split).cross_entropy for network in networks],
    )  # fmt: skip
    before, start = copy.deepcopy(small), time.process_time()
    images = min(STEPS_PER_EPOCH, steps) * BATCH
    train_split = TensorSplit(train_split.images[:images], train_split.labels[:images], train_split.normalise)
    epochs = steps // steps_per_epoch(round(recipe.fraction * images), BATCH)
    result = train(
        small, train_split, score_split, recipe=recipe, epochs=epochs, seed=order,
        teacher=DenseTeacher(bench.model, bench.space, plan),
    )  # fmt: skip
    if scaled:
        small = choose_depth_scaling(
            before, small, bench.images.calibration[:1], evaluation=result.best,
            recalibrate=lambda network: recalibrated(bench, network),
            judge=lambda network: evaluate(network, score_split),
        ).model  # fmt: skip
    seconds = time.process_time() - start
    test = evaluate(small, TensorSplit(*bench.test))
    return {
        "seconds": seconds, "best_epoch": result.best_epoch, "accuracy": test.accuracy,
        "cross_entropy": test.cross_entropy, "trained_steps": result.length.steps,
    }  # fmt: skip


def _splits(bench: Bench, args: argparse.Namespace) -> tuple[TensorSplit, TensorSplit]:
    """Bytes to train on, as many as an epoch takes, and the images that judge the epochs."""
    dataset = open_dataset(args.work / "fetch")
    split = dataset.split("train")
    rows = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))[: STEPS_PER_EPOCH * BATCH]
    labels = bench.images.labels
    assert labels is not None
    return (
        TensorSplit(split.images()[rows], split.labels[rows], dataset.normalise),
        TensorSplit(bench.images.scoring[:SCORE_IMAGES], labels[:SCORE_IMAGES]),
    )


def report(rows: list[dict[str, Any]]) -> None:
    """A line per recipe, two columns per budget and length: accuracy, and what it gains over the default, paired."""
    settings = sorted({(row["share"], row["steps"]) for row in rows}, key=lambda setting: (-setting[0], setting[1]))
    accuracies = {tuple(row[name] for name in KEY): row["accuracy"] for row in rows}
    lines = []
    for model, dense, name in dict.fromkeys((row["model"], row["dense"], row["recipe"]) for row in rows):
        cells: list[str] = []
        for setting in settings:
            share, steps = setting
            orders = [key[-1] for key in accuracies if key[:-1] == (model, dense, share, name, steps)]
            values = [accuracies[model, dense, share, name, steps, order] for order in orders]
            plain = [accuracies.get((model, dense, share, "default", steps, order)) for order in orders]
            gains = [value - base for value, base in zip(values, plain, strict=True) if base is not None]
            cells += [
                f"{mean_and_error(values)} ({len(values)})" if values else "",
                mean_and_error(gains) if gains else "",
            ]
        lines.append((model, dense, name, *cells))
    header = ["network", "dense", "recipe"]
    for share, steps in settings:
        header += [f"{share:.1%} of the MACs, {steps} steps", "gain"]
    notes = [
        "uniform widths, channels by weight_activation, refitted by least_squares and recalibrated before training",
        "accuracy in percent on all 10,000 test images and the gain over `default` in the same orders of the images; "
        "mean, standard error over orders, their number",
        f"{STEPS_PER_EPOCH * BATCH:,} training images in batches of {BATCH}; {SCORE_IMAGES:,} images judge epochs",
    ]
    publish("recipes", "Recipes at equal steps", notes, table(header, lines))


def main() -> None:
    """The command line."""
    parser = uniform_widths_parser(__doc__, [200])
    parser.add_argument("--recipes", nargs="+", default=[*RECIPES], help="names of RECIPES, or JSON")
    parser.add_argument("--precision", default="bfloat16", choices=["bfloat16", "float32"])
    run(parser.parse_args(), measure, report, ROWS)


if __name__ == "__main__":
    main()
