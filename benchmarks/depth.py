r"""Whole residual blocks left out or widths alone, at the same MACs: accuracy after the same fine-tuning, and latency.

    python -m benchmarks.depth --checkpoint ADAPTED.safetensors --work /tmp/depth

needs EYAS_DATA (CIFAR-10 as Parquet, pretrained weights). One search each with and without ``depth``, all else its
defaults; the winners' ONNX files are timed in turns. Every network is a line of ``results/depth.jsonl``;
seeds that are there are not measured again. ``--report`` prints the table of what is there.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

import eyas
from benchmarks.candidates import Bench, Recipe, accuracy, bench_parser, recalibrated, trained_accuracy
from benchmarks.common import RESULTS, append_row, mean_and_error, read_rows, table
from eyas.deploy.exporters import Exporter
from eyas.deploy.latency.eyas_profile import open_onnx, time_together

ROWS = RESULTS / "depth.jsonl"
KEY = ("model", "share", "candidates", "steps", "seed")
"""What makes a measurement, of all its networks."""
TURNS = 8
"""How often the files are timed, each the least of its medians."""


def measure(bench: Bench, args: argparse.Namespace) -> None:
    """Search, fine-tune and time both, once per seed."""
    images = bench.images.scoring[:1]
    finished = {tuple(row[name] for name in KEY) for row in read_rows(ROWS)}
    for seed in range(1, args.runs + 1):
        key = dict(zip(KEY, (args.model, args.share, args.candidates, args.steps, seed), strict=True))
        if tuple(key.values()) in finished:
            continue
        networks: dict[str, tuple[dict[str, Any], nn.Module]] = {"dense": ({}, bench.model)}
        for depth in (False, True):
            networks[f"depth {'on' if depth else 'off'}"] = searched(bench, args, depth=depth, seed=seed)
        files = [
            Exporter.parse("onnx")(small, images, args.work / f"{name}.onnx") for name, (_, small) in networks.items()
        ]
        opened = [open_onnx(str(file), 1, 1) for file in files]
        times = torch.tensor([time_together(opened) for _ in range(TURNS)]).amin(0).tolist()
        for (name, (row, small)), milliseconds in zip(networks.items(), times, strict=True):
            row |= {"name": name, "milliseconds": milliseconds, **key}
            if small is bench.model:
                row["accuracy"] = accuracy(small, *bench.test)
            else:
                row["accuracy"] = trained_accuracy(bench, small, Recipe(args.steps, args.rate), seed)
            append_row(ROWS, row)


def searched(bench: Bench, args: argparse.Namespace, *, depth: bool, seed: int) -> tuple[dict[str, Any], nn.Module]:
    """The winner, recalibrated, and what is known of it before training."""
    space = eyas.trace(bench.model, (bench.test[0][:1],), depth=depth)
    images, start = bench.images, time.process_time()
    result = eyas.search(
        bench.model, space, {"macs": args.share}, images.calibration, images.scoring, images.labels,
        criterion={"kind": "weight_activation", "activation": "std"}, candidates=args.candidates, seed=seed,
    )  # fmt: skip
    small = recalibrated(bench, result.build())
    seconds, dropped = time.process_time() - start, space.legal.dropped(result.candidates.widths).sum(1)
    row = {
        "seconds": seconds,
        "macs": result.cost.macs / space.cost().macs,
        "untrained": accuracy(small, *bench.test),
        "left_out": [block.name for block in space.dropped(result.plan)],
        "short_candidates": int((dropped > 0).sum()),
    }
    return row, small


def report(rows: list[dict[str, Any]]) -> str:
    """A line per network, mean and standard error over the seeds."""
    lines = []
    for name in dict.fromkeys(row["name"] for row in rows):
        same = [row for row in rows if row["name"] == name]
        columns = ([row[key] for row in same if key in row] for key in ("macs", "untrained", "accuracy"))
        blocks = ", ".join(str(len(row.get("left_out", ()))) for row in same)
        milliseconds = statistics.median(row["milliseconds"] for row in same)
        shares = (mean_and_error(column) if column else "" for column in columns)
        lines.append((name, *shares, milliseconds, blocks, len(same)))
    return table(("network", "MACs", "untrained", "accuracy", "ms", "blocks left out", "n"), lines)


def main() -> None:
    """Measure, or report."""
    parser = bench_parser(__doc__)
    parser.set_defaults(model="resnet56", work=Path("/tmp/depth"))
    parser.add_argument("--share", type=float, default=0.5, help="of the dense MACs")
    parser.add_argument("--candidates", type=int, default=200)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--runs", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if not args.report:
        measure(Bench.from_arguments(args), args)
    print(report(read_rows(ROWS)))


if __name__ == "__main__":
    main()
