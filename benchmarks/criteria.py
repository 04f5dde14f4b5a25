r"""Which channels to keep: criteria against each other at the same uniform widths, before and after fine-tuning.

    python -m benchmarks.criteria --model resnet20 --checkpoint ADAPTED.safetensors --shares 0.5 0.25 0.125 \\
        --criteria l1_norm consumer_norm weight_activation --steps 200 1000 --orders 2 --recoveries none least_squares

needs EYAS_DATA (CIFAR-10 as Parquet, pretrained weights). Every measurement is a line of
``results/criteria.jsonl``; what is there is not measured again. ``--report`` writes the table of what is there.
"""

import argparse
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import eyas
from benchmarks.candidates import Bench, Recipe, accuracy, bench_parser, draw, recalibrated, trained_accuracy
from benchmarks.common import RESULTS, append_row, mean_and_error, publish, read_rows, table
from eyas.pruning.criteria import Criterion
from eyas.pruning.plan import PruningPlan

ROWS = RESULTS / "criteria.jsonl"
KEY = ("model", "dense", "share", "criterion", "recovery", "steps", "order")
"""What makes a measurement; rows from before there was a choice of recovery have none, rows that
``benchmarks/refit.py`` measured say so."""
UNTRAINED_IMAGES = 2000
PRODUCT = "weight_activation"
CRITERIA: dict[str, Any] = {
    **{kind: kind for kind in Criterion.members()},
    **{f"{PRODUCT}:{name}": {"kind": PRODUCT, "activation": name} for name in ("rms", "mean", "std")},
    **{
        f"{PRODUCT}:rms:{name}": {"kind": PRODUCT, "activation": "rms", "normalise": name}
        for name in ("output", "none")
    },
    f"{PRODUCT}:rms:producers": {"kind": PRODUCT, "activation": "rms", "producers": True},
    f"{PRODUCT}:producers:std": {"kind": PRODUCT, "activation": "std", "producers": True},
    "taylor:batches": {"kind": "taylor", "batch_size": 16},
    "linear_dependence:paper": {"kind": "linear_dependence", "weighted": False, "centred": False},
}
"""What ``--criteria`` may name; anything else is the JSON of a criterion."""


def measure(bench: Bench, args: argparse.Namespace) -> None:
    """Everything that is asked for and not there yet."""
    finished = {tuple({"recovery": "none", **row}[name] for name in KEY) for row in read_rows(ROWS)}
    for share in args.shares:
        widths = draw(bench.space, share, 1, seed=0).widths[0]
        macs = bench.space.cost(widths).macs / bench.space.cost().macs
        for name in args.criteria:
            criterion = Criterion.parse(CRITERIA[name] if name in CRITERIA else json.loads(name))
            how = itertools.product(args.recoveries, args.steps, args.order_seeds)
            keys = [
                key for key in ((args.model, args.dense, share, name, *rest) for rest in how) if key not in finished
            ]
            if not keys:
                continue
            start = time.process_time()
            plan = bench.space.plan(widths, criterion, data=bench.images.calibration)
            seconds = time.process_time() - start
            test = [part[:UNTRAINED_IMAGES] for part in bench.test]
            for recovery, rest in itertools.groupby(keys, key=lambda key: key[4]):
                before = accuracy(built(bench, plan, recovery), *test)
                for key in rest:
                    row = {"macs": macs, "seconds": seconds, "untrained": before}
                    row["accuracy"] = trained_accuracy(
                        bench, built(bench, plan, recovery), Recipe(key[5], args.rate), key[6]
                    )
                    append_row(ROWS, {**dict(zip(KEY, key, strict=True)), **row})


def built(bench: Bench, plan: PruningPlan, recovery: str) -> nn.Module:
    """Pruned, refitted on the first calibration images, and recalibrated."""
    small = eyas.prune(bench.model, bench.space, plan)
    if recovery != "none":
        eyas.refit(bench.model, small, bench.space, plan, bench.images.calibration, recovery=recovery)
    return recalibrated(bench, small)


def report(rows: list[dict[str, Any]]) -> None:
    """A line per network, recovery, steps and criterion, a column per budget; mean and standard error over orders."""
    rows, names = [{"recovery": "none", **row} for row in rows], ("model", "dense", "recovery", "steps", "criterion")
    shares = sorted({row["share"] for row in rows}, reverse=True)
    lines = []
    for key in sorted({tuple(row[name] for name in names) for row in rows}):
        cells: list[object] = []
        for share in shares:
            values = [row for row in rows if tuple(row[name] for name in names) == key and row["share"] == share]
            cells.append(mean_and_error([row["accuracy"] for row in values]) if values else "")
            cells.append(f"{100 * values[0]['untrained']:.1f}" if values else "")
        lines.append((*key, *cells))
    header = ["network", "dense", "recovery", "steps", "criterion"]
    for share in shares:
        header += [f"{share:.1%} of the MACs", "untrained"]
    notes = [
        "uniform widths at every budget; the criteria differ in which channels are kept, and in nothing else",
        "accuracy in percent on all 10,000 test images after recalibration on 1,024 images and fine-tuning (SGD with "
        "Nesterov momentum, weight decay 1e-4, cosine to 0, batches of 128, bfloat16); mean and standard error over "
        "orders of the images",
        f"untrained: recalibrated only (after the recovery), {UNTRAINED_IMAGES} test images; a recovery looks at 64 "
        "calibration images",
    ]
    publish("criteria", "Criteria at the same uniform widths", notes, table(header, lines))


def uniform_widths_parser(text: str | None, steps: list[int]) -> argparse.ArgumentParser:
    """What benchmarks at uniform widths are asked for."""
    parser = bench_parser(text)
    parser.add_argument("--dense", help="what rows call the dense network: adapted with --checkpoint, else public")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.5, 0.25, 0.125], help="of the dense MACs")
    parser.add_argument("--steps", type=int, nargs="+", default=steps, help="of the fine-tuning")
    parser.add_argument("--rate", type=float, default=0.05, help="peak learning rate of the fine-tuning")
    parser.add_argument("--orders", type=int, default=2, help="fine-tunings of each, in other orders of the images")
    return parser


def run(
    args: argparse.Namespace,
    measure: Callable[[Bench, argparse.Namespace], None],
    report: Callable[[list[dict[str, Any]]], None],
    rows: Path,
) -> None:
    """Measure, or go on measuring; or report."""
    args.order_seeds = range(1, args.orders + 1)
    args.dense = args.dense or ("adapted" if args.checkpoint else "public")
    torch.set_num_threads(1)
    if args.report:
        report(read_rows(rows))
    else:
        measure(Bench.from_arguments(args), args)


def main() -> None:
    """The command line."""
    parser = uniform_widths_parser(__doc__, [200])
    parser.add_argument("--criteria", nargs="+", default=[*CRITERIA], help="names of CRITERIA, or JSON")
    parser.add_argument("--recoveries", nargs="+", default=["none", "least_squares"], help="before the fine-tuning")
    run(parser.parse_args(), measure, report, ROWS)


if __name__ == "__main__":
    main()
