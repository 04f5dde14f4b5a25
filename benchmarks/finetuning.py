r"""How a pruned network is best trained at equal steps: the recipe's settings, and one cut against several.

    python -m benchmarks.finetuning --checkpoint ADAPTED.safetensors --shares 0.25 --steps 200 --recipes default ...
    python -m benchmarks.finetuning --checkpoint ADAPTED.safetensors --recipes default --cuts 1 3:0.5 --steps 200 600

needs EYAS_DATA (CIFAR-10 as Parquet, pretrained weights). Uniform widths; trained by ``eyas.training.train`` on 5,120
images, 40 steps an epoch: 200 steps are 5 epochs, 600 steps are the 15 that a user gets who leaves ``epochs`` out.
``3:0.5`` is three cuts with half of the epochs before the last (``finetune.gradual``). Every measurement is a line of
``results/finetuning.jsonl``; what is there is not measured again. ``--report`` writes the table of what is there.
"""

import argparse
import json
import time
from itertools import product
from typing import Any

import torch
from torch import nn

import eyas
from benchmarks.candidates import BATCH, Bench, draw, recalibrated
from benchmarks.common import RESULTS, append_row, mean_and_error, publish, read_rows, table
from benchmarks.criteria import run, uniform_widths_parser
from eyas.pruning.criteria import Criterion
from eyas.pruning.nested_plans import nested_plans
from eyas.pruning.plan import PruningPlan
from eyas.recovery import Recovery
from eyas.recovery.prune_and_refit import prune_and_refit
from eyas.training import TensorSplit, TrainingResult, evaluate, train
from eyas.training.gradual import Cut, divide_epochs, train_in_cuts
from eyas.training.recipes import Recipe

ROWS = RESULTS / "finetuning.jsonl"
KEY = ("model", "dense", "share", "recipe", "cuts", "recovery", "steps", "order")
"""What makes a measurement."""
STEPS_PER_EPOCH, SCORE_IMAGES = 40, 2000
CRITERION = {"kind": "weight_activation", "activation": "std"}
RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    **{f"learning_rate {rate}": {"learning_rate": rate} for rate in (0.02, 0.1, 0.2)},
    **{f"warmup_epochs {epochs}": {"warmup_epochs": epochs} for epochs in (0, 0.25, 2)},
    "labels alone": {"distillation": None},
    **{f"alpha {alpha}": {"distillation": {"alpha": alpha}} for alpha in (0.5, 1.0)},
    **{f"temperature {value}": {"distillation": {"temperature": value}} for value in (1, 2, 8)},
    "decay all": {"decay": "all"},
    **{f"weight_decay {decay:g}": {"weight_decay": decay} for decay in (1e-4, 2e-3)},
    **{f"ema_decay {decay}": {"ema_decay": decay} for decay in (0.9, 0.98, 0.995)},
}
"""What ``--recipes`` may name: options of ``sgd`` beside the defaults; anything else is their JSON."""


def measure(bench: Bench, args: argparse.Namespace) -> None:
    """Everything that is asked for and not there yet."""
    finished = {tuple(row[name] for name in KEY) for row in read_rows(ROWS)}
    for share in args.shares:
        widths = draw(bench.space, share, 1, seed=0).widths[0]
        plan = bench.space.plan(widths, Criterion.parse(CRITERION), data=bench.images.calibration)
        for variant in product(args.steps, args.order_seeds, args.recoveries, args.cuts, args.recipes):
            steps, order, recovery, cuts, name = variant
            key = (args.model, args.dense, share, name, cuts, recovery, steps, order)
            if key in finished:
                continue
            options = RECIPES[name] if name in RECIPES else json.loads(name)
            recipe = Recipe.parse({"kind": "sgd", "batch_size": BATCH, "precision": "bfloat16", **options})
            start = time.process_time()
            small, result = finetuned(bench, plan, recipe, steps=steps, order=order, cuts=cuts, recovery=recovery)
            row = {"seconds": time.process_time() - start, "best_epoch": result.best_epoch}
            row |= _test(bench, small, "")
            if recipe.ema_decay is not None:
                row |= _test(bench, recalibrated(bench, small), "recalibrated_")
            append_row(ROWS, {**dict(zip(KEY, key, strict=True)), **row})


def finetuned(
    bench: Bench, plan: PruningPlan, recipe: Recipe, *, steps: int, order: int, cuts: str, recovery: str
) -> tuple[nn.Module, TrainingResult]:
    """The network of ``plan``, pruned and trained as the finetune stage does it."""
    number, _, before = cuts.partition(":")
    epochs, (train_split, score_split) = steps // STEPS_PER_EPOCH, _splits(bench)
    images, refit = bench.images.calibration[:1024], None if recovery == "none" else Recovery.parse(recovery)
    plans = nested_plans(bench.space, plan, int(number), criterion=Criterion.parse(CRITERION), data=images)
    spans = divide_epochs(epochs, int(number), float(before or 0.5))

    def prune(model: nn.Module, space: eyas.SearchSpace, plan: PruningPlan) -> nn.Module:
        network, _ = prune_and_refit(
            model, space, plan, images, recovery=refit, recalibrate=lambda network: recalibrated(bench, network),
            losses=lambda networks: [evaluate(network, score_split).cross_entropy for network in networks],
        )  # fmt: skip
        return network

    def train_part(network: nn.Module, cut: Cut) -> TrainingResult:
        options = {"recipe": recipe, "epochs": epochs, "teacher": bench.model, "seed": order, "span": cut.epochs}
        return train(network, train_split, score_split, **options)

    parts = [Cut(number, *part) for number, part in enumerate(zip(plans, spans, strict=True), start=1)]
    return train_in_cuts(bench.model, bench.space, parts, prune=prune, train=train_part)


def _test(bench: Bench, model: nn.Module, prefix: str) -> dict[str, float]:
    """On all test images."""
    test = evaluate(model, TensorSplit(*bench.test))
    return {f"{prefix}accuracy": test.accuracy, f"{prefix}cross_entropy": test.cross_entropy}


def _splits(bench: Bench) -> tuple[TensorSplit, TensorSplit]:
    """Images to train on, as many as the epochs' steps take, and those that judge the epochs."""
    rows = torch.randperm(len(bench.train[0]), generator=torch.Generator().manual_seed(0))[: STEPS_PER_EPOCH * BATCH]
    labels = bench.images.labels
    assert labels is not None
    return (
        TensorSplit(bench.train[0][rows], bench.train[1][rows]),
        TensorSplit(bench.images.scoring[:SCORE_IMAGES], labels[:SCORE_IMAGES]),
    )


def report(rows: list[dict[str, Any]]) -> None:
    """A line per recipe and kind of cut, a column per budget and length; mean and standard error over orders."""
    settings = sorted({(row["share"], row["steps"]) for row in rows}, key=lambda setting: (-setting[0], setting[1]))
    lines = []
    names = KEY[:2] + KEY[3:6]
    for key in dict.fromkeys(tuple(row[name] for name in names) for row in rows):
        same = [row for row in rows if tuple(row[name] for name in names) == key]
        cells = [[row["accuracy"] for row in same if (row["share"], row["steps"]) == setting] for setting in settings]
        lines.append((*key, *(f"{mean_and_error(cell)} ({len(cell)})" if cell else "" for cell in cells)))
    header = [*names, *(f"{share:.1%} of the MACs, {steps} steps" for share, steps in settings)]
    notes = [
        "uniform widths, channels by weight_activation (std); recalibrated on 1,024 images before training",
        "accuracy in percent on all 10,000 test images; mean, standard error over orders of the images, their number",
        f"{STEPS_PER_EPOCH * BATCH:,} training images in batches of {BATCH}, bfloat16; {SCORE_IMAGES:,} judge epochs",
    ]
    publish("finetuning", "Fine-tuning at equal steps", notes, table(header, lines))


def main() -> None:
    """The command line."""
    parser = uniform_widths_parser(__doc__, [200])
    parser.add_argument("--cuts", nargs="+", default=["1"], help="how many, and the share of epochs before the last")
    parser.add_argument("--recoveries", nargs="+", default=["none"], choices=["none", *Recovery.members()])
    parser.add_argument("--recipes", nargs="+", default=[*RECIPES], help="names of RECIPES, or JSON")
    run(parser.parse_args(), measure, report, ROWS)


if __name__ == "__main__":
    main()
