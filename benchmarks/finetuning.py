r"""How a pruned network is best trained at equal steps: the recipe's settings, one at a time around its defaults.

    python -m benchmarks.finetuning --checkpoint ADAPTED.safetensors --shares 0.25 --steps 200 --recipes default ...

needs EYAS_DATA (CIFAR-10 as Parquet, pretrained weights). Uniform widths; trained by ``eyas.training.train`` on 5,120
images, 40 steps an epoch: 200 steps are 5 epochs, 600 steps are the 15 that a user gets who leaves ``epochs`` out.
Every measurement is a line of ``results/finetuning.jsonl``; what is there is not measured again. ``--report`` writes
the table of what is there.
"""

import argparse
import json
import time
from typing import Any

import torch

import eyas
from benchmarks.candidates import BATCH, Bench, draw, recalibrated
from benchmarks.common import RESULTS, append_row, mean_and_error, publish, read_rows, table
from benchmarks.criteria import run, uniform_widths_parser
from eyas.pruning.criteria import Criterion
from eyas.training import TensorSplit, evaluate, train
from eyas.training.recipes import Recipe

ROWS = RESULTS / "finetuning.jsonl"
KEY = ("model", "dense", "share", "recipe", "steps", "order")
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
    criterion = Criterion.parse(CRITERION)
    for share in args.shares:
        widths = draw(bench.space, share, 1, seed=0).widths[0]
        plan = bench.space.plan(widths, criterion, data=bench.images.calibration)
        for steps in args.steps:
            for order in args.order_seeds:
                for name in args.recipes:
                    key = (args.model, args.dense, share, name, steps, order)
                    if key in finished:
                        continue
                    options = RECIPES[name] if name in RECIPES else json.loads(name)
                    recipe = Recipe.parse({"kind": "sgd", "batch_size": BATCH, "precision": "bfloat16", **options})
                    small = recalibrated(bench, eyas.prune(bench.model, bench.space, plan))
                    start = time.process_time()
                    result = train(
                        small, *_splits(bench), recipe=recipe, epochs=steps // STEPS_PER_EPOCH, teacher=bench.model,
                        seed=order,
                    )  # fmt: skip
                    seconds = time.process_time() - start
                    test = evaluate(small, TensorSplit(*bench.test))
                    measured = {"accuracy": test.accuracy, "cross_entropy": test.cross_entropy, "seconds": seconds}
                    if recipe.ema_decay is not None:
                        averaged = evaluate(recalibrated(bench, small), TensorSplit(*bench.test))
                        measured["recalibrated_accuracy"] = averaged.accuracy
                    append_row(ROWS, {**dict(zip(KEY, key, strict=True)), **measured, "best_epoch": result.best_epoch})


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
    """A line per recipe, a column per budget and length; mean and standard error over orders."""
    settings = sorted({(row["share"], row["steps"]) for row in rows}, key=lambda setting: (-setting[0], setting[1]))
    lines = []
    for key in dict.fromkeys((row["model"], row["dense"], row["recipe"]) for row in rows):
        same = [row for row in rows if (row["model"], row["dense"], row["recipe"]) == key]
        cells = [[row["accuracy"] for row in same if (row["share"], row["steps"]) == setting] for setting in settings]
        lines.append((*key, *(f"{mean_and_error(cell)} ({len(cell)})" if cell else "" for cell in cells)))
    header = ["network", "dense", "recipe", *(f"{share:.1%} of the MACs, {steps} steps" for share, steps in settings)]
    notes = [
        "uniform widths, channels by weight_activation (std); recalibrated on 1,024 images before training",
        "accuracy in percent on all 10,000 test images; mean, standard error over orders of the images, their number",
        f"{STEPS_PER_EPOCH * BATCH:,} training images in batches of {BATCH}, bfloat16; {SCORE_IMAGES:,} judge epochs",
    ]
    publish("finetuning", "Fine-tuning at equal steps", notes, table(header, lines))


def main() -> None:
    """The command line."""
    parser = uniform_widths_parser(__doc__, [200])
    parser.add_argument("--recipes", nargs="+", default=[*RECIPES], help="names of RECIPES, or JSON")
    run(parser.parse_args(), measure, report, ROWS)


if __name__ == "__main__":
    main()
