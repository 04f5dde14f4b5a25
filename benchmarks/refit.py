r"""Refit without training: what it gives before and after fine-tuning, by budget, recovery and number of images.

    python -m benchmarks.refit --model resnet20 --checkpoint ADAPTED.safetensors --shares 0.5 0.25 0.125 \\
        --recoveries none variance_matching least_squares --images 16 64 256 --steps 200 --orders 2

needs EYAS_DATA (CIFAR-10 as Parquet, pretrained weights). Uniform widths; channels kept by ``--criterion``. Every
measurement is a line of ``results/refit.jsonl``; what is there is not measured again. ``--steps 0`` trains nothing.
``--report`` writes the table of what is there.
"""

import argparse
import json
import time
from typing import Any

from torch import nn

import eyas
from benchmarks.candidates import Bench, Recipe, accuracy, draw, recalibrated, trained_accuracy
from benchmarks.common import RESULTS, append_row, mean_and_error, publish, read_rows, table
from benchmarks.criteria import CRITERIA, UNTRAINED_IMAGES, run, uniform_widths_parser
from eyas.pruning.criteria import Criterion
from eyas.pruning.plan import PruningPlan
from eyas.recovery import Recovery
from eyas.recovery.base import UnfittedRecovery
from eyas.recovery.weight_transfer import transfer

ROWS = RESULTS / "refit.jsonl"
KEY = ("model", "dense", "share", "criterion", "recovery", "images", "steps", "order")
"""What makes a measurement."""


def refitted(bench: Bench, plan: PruningPlan, recovery: str, images: int) -> tuple[nn.Module, dict[str, Any]]:
    """The network pruned, refitted and recalibrated, and what the refit says of itself."""
    small = eyas.prune(bench.model, bench.space, plan)
    if recovery == "none":
        return recalibrated(bench, small), {}
    chosen = Recovery.parse({**(json.loads(recovery) if "{" in recovery else {"kind": recovery}), "images": images})
    start = time.process_time()
    outcome = eyas.refit(bench.model, small, bench.space, plan, bench.images.calibration, recovery=chosen)
    seconds = time.process_time() - start
    errors = {"error_before": outcome.error_before, "error_after": outcome.error_after}
    if outcome.undone and isinstance(chosen, UnfittedRecovery):  # its own doing is measured all the same
        transfer(chosen, bench.model, small, bench.space, plan)
        errors["undone"] = True
    return recalibrated(bench, small), {**errors, "layers": len(outcome.layers), "seconds": seconds}


def measure(bench: Bench, args: argparse.Namespace) -> None:
    """Everything that is asked for and not there yet."""
    finished = {tuple(row[name] for name in KEY) for row in read_rows(ROWS)}
    criterion = Criterion.parse(CRITERIA[args.criterion] if args.criterion in CRITERIA else json.loads(args.criterion))
    test = [part[:UNTRAINED_IMAGES] for part in bench.test]
    for share in args.shares:
        widths = draw(bench.space, share, 1, seed=0).widths[0]
        plan = bench.space.plan(widths, criterion, data=bench.images.calibration)
        variants = [("none", 0)] if "none" in args.recoveries else []
        variants += [(kind, images) for kind in args.recoveries if kind != "none" for images in args.images]
        for recovery, images in variants:
            for steps in args.steps:
                for order in args.order_seeds if steps else (0,):
                    key = (args.model, args.dense, share, args.criterion, recovery, images, steps, order)
                    if key in finished:
                        continue
                    small, row = refitted(bench, plan, recovery, images)
                    row["untrained"] = accuracy(small, *test)
                    recipe = Recipe(steps, args.rate)
                    row["accuracy"] = trained_accuracy(bench, small, recipe, order) if steps else row["untrained"]
                    append_row(ROWS, {**dict(zip(KEY, key, strict=True)), **row})


def report(rows: list[dict[str, Any]]) -> None:
    """A line per measurement, orders together."""
    names = KEY[:-1]
    lines = []
    for key in dict.fromkeys(tuple(row[name] for name in names) for row in rows):
        same = [row for row in rows if tuple(row[name] for name in names) == key]
        numbers = [same[0].get(name, "") for name in ("error_before", "error_after", "seconds")]
        untrained = f"{100 * same[0]['untrained']:.1f}"
        lines.append((*key, *numbers, untrained, mean_and_error([row["accuracy"] for row in same])))
    header = (*names, "error before", "error after", "CPU s", "untrained", "accuracy")
    notes = [
        "uniform widths; recalibrated on 1,024 images after the refit; fine-tuning as in benchmarks/criteria.py",
        "error: squared difference of the logits on held-out images, relative to the dense network's",
        "weights that a recovery transferred are measured also where `eyas.refit` undoes them (`undone` in the rows)",
        f"accuracy in percent, all 10,000 test images; untrained and where steps are 0, {UNTRAINED_IMAGES} of them",
    ]
    publish("refit", "Refit in closed form, before and after fine-tuning", notes, table(header, lines))


def main() -> None:
    """The command line."""
    parser = uniform_widths_parser(__doc__, [0, 200])
    parser.add_argument("--criterion", default="weight_activation", help="a name of benchmarks.criteria, or JSON")
    parser.add_argument("--recoveries", nargs="+", default=["none", *Recovery.members()])
    parser.add_argument("--images", type=int, nargs="+", default=[64], help="that the refit sees")
    run(parser.parse_args(), measure, report, ROWS)


if __name__ == "__main__":
    main()
