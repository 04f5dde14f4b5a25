r"""Latency predicted from the table of layers, against networks exported and measured whole; and against their MACs.

    python -m benchmarks.latency --models digits resnet20 --work /tmp/latency

Candidates are other than those that the line was laid through: a third each of any widths, multiples of 4 and of 8.
Files and measured layers stay in the work folder, measured networks in ``results/latency.jsonl``: a run goes on where
it was. ``--report`` writes the table of what is there.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import eyas
from benchmarks.common import RESULTS, append_row, publish, read_rows, table
from eyas.deploy.exporters import Exporter
from eyas.deploy.latency import LatencyModel
from eyas.deploy.latency.device_profile import profile
from eyas.deploy.latency.eyas_profile import open_onnx, time_together
from eyas.deploy.latency.latency_model import rank_correlation
from eyas.deploy.latency.profile_plan import spread_widths, write_network
from eyas.networks.architectures import build_model

ROWS = RESULTS / "latency.jsonl"
NETWORKS: dict[str, tuple[str, dict[str, Any], tuple[int, int, int]]] = {
    "digits": ("resnet8", {"width": 16, "in_channels": 1}, (1, 8, 8)),
    "resnet20": ("resnet20", {}, (3, 32, 32)),
    "resnet56": ("resnet56", {}, (3, 32, 32)),
    "mobilenet_v2": ("mobilenet_v2", {}, (3, 96, 96)),
}
SEED, TURNS = 1, 4
"""Of the candidates; and how often all of them are measured, each the least of three medians of five runs."""


def measure(name: str, args: argparse.Namespace) -> None:
    """Profile a network, and measure its candidates side by side."""
    architecture, arguments, shape = NETWORKS[name]
    model = build_model(architecture, arguments, 10).eval()
    space = eyas.trace(model, (torch.zeros(1, *shape),))
    folder = args.work / name
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    measured = profile(space, threads=args.threads, batch=args.batch, cache=folder)
    seconds = time.perf_counter() - start
    rows = spread_widths(space, args.candidates + 1, seed=SEED)[1:]
    files = [folder / f"{'-'.join(map(str, row))}.{args.exporter}" for row in rows]
    for file, row in zip(files, rows, strict=True):
        if not file.exists():
            export(space, row, file.with_suffix(".new"), traced=args.exporter == "traced")
            file.with_suffix(".new").rename(file)
    opened = [open_onnx(str(file), args.threads, args.batch) for file in files]
    times = np.min([time_together(opened) for _ in range(TURNS)], axis=0)
    predicted = LatencyModel(space, measured)
    points = sum(len(entry.inputs) * len(entry.outputs) for entry in measured.entries)
    columns = zip(times, predicted.sums(rows), predicted.milliseconds(rows), space.costs(rows).macs, strict=True)
    append_row(
        ROWS,
        {
            "model": name,
            "where": measured.where,
            "seconds": seconds,
            "points": points,
            "exporter": args.exporter,
            "fit": measured.fit,
            "candidates": [
                dict(zip(("ms", "sum", "line", "macs"), map(float, column), strict=True)) for column in columns
            ],
        },
    )


def export(space: eyas.SearchSpace, widths: Any, path: Path, *, traced: bool) -> None:
    """Write a candidate, as the profile writes its own networks or as the product does."""
    if traced:
        write_network(space, dict(zip(space.widths, widths.tolist(), strict=True)), path)
    else:
        Exporter.parse("onnx")(eyas.prune(space.model, space, space.plan(widths)).eval(), space.example[0][0], path)


def report(rows: Sequence[dict[str, Any]]) -> None:
    """The newest measurement of every network and setting."""
    newest = {(row["model"], row["exporter"], row["where"]): row for row in rows}
    lines, body = [], []
    for row in newest.values():
        ms, total, line, macs = (
            np.array([one[key] for one in row["candidates"]]) for key in ("ms", "sum", "line", "macs")
        )
        before, after = (np.abs(guess - ms) / ms for guess in (total, line))
        ranks = [rank_correlation(guess, ms) for guess in (macs, total)]
        errors = [f"{100 * np.median(error):.1f} (at most {100 * error.max():.1f})" for error in (before, after)]
        lines.append(
            [
                row["model"],
                row["exporter"],
                len(ms),
                row["points"],
                f"{row['seconds']:.0f}",
                *ranks,
                *errors,
                ms.min(),
                ms.max(),
            ]
        )
        body.append(f"{row['model']}: {row['where']}; load then: {row['hardware'].rpartition('load ')[2]}")
    head = [
        "network",
        "exporter",
        "candidates",
        "models of layers",
        "profiling, s",
        "ranks by MACs",
        "ranks by the table",
    ]
    head += ["error of the sum, %", "of the line, %", "fastest, ms", "slowest, ms"]
    notes = [
        "Spearman's rank correlation with the measured time; errors are medians of |predicted - measured| / measured",
        "the line was laid through 8 other networks of the same kind (the dense one and 7 random ones)",
        "the machine was shared: layers and networks took turns, each time is the least of several medians of 5 runs",
        "exporter: `onnx` is the product's, `traced` writes in a tenth of a second what the line is laid through",
        *body,
    ]
    publish("latency", "Latency by the table of layers against whole networks measured", notes, table(head, lines))


def main() -> None:
    """Measure what is asked for, then report all there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=["digits", "resnet20"], choices=NETWORKS)
    parser.add_argument("--work", type=Path, default=Path("latency"))
    parser.add_argument("--candidates", type=int, default=24)
    parser.add_argument("--exporter", choices=["onnx", "traced"], default="onnx", help="of the candidates")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--report", action="store_true", help="measure nothing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name in () if args.report else args.models:
        measure(name, args)
    report(read_rows(ROWS))


if __name__ == "__main__":
    main()
