r"""Widths in multiples (`sample.round_to`): what they save in time, and what they cost in accuracy, at the same MACs.

    python -m benchmarks.alignment --models digits resnet20 resnet56 mobilenet_v2 inverted
    python -m benchmarks.alignment --checkpoint ADAPTED.safetensors --shares 0.5 0.25 --seeds 0 1 2

The first times random candidates, untrained, one image, one thread, beside the dense network. The second needs
EYAS_DATA (CIFAR-10 as Parquet, pretrained weights): one default search per budget, multiple and seed, its winner
refitted and fine-tuned. Every network or search is a line of ``results/alignment.jsonl``; what is there is not measured
again. ``--report`` writes the tables of what is there.
"""

import argparse
import itertools
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import eyas
from benchmarks.candidates import Bench, Recipe, trained_accuracy
from benchmarks.common import RESULTS, append_row, mean_and_error, publish, read_rows, table
from benchmarks.criteria import built
from eyas.deploy.exporters import Exporter
from eyas.deploy.latency.eyas_profile import open_onnx, time_together
from eyas.errors import BudgetError
from eyas.networks.architectures import build_model
from eyas.pruning.space import SearchSpace
from eyas.pruning.widths import usual_steps
from eyas.sampling.budget import Budget
from eyas.sampling.samplers import Sampler

ROWS = RESULTS / "alignment.jsonl"
MULTIPLES = ("1", "4", "8", "16", "auto")
CANDIDATES, TURNS = 6, 4
"""Networks timed of each multiple, and how often all are, each the least of its medians."""
SEARCHED = 100
"""Candidates of a search."""


class Inverted(nn.Module):
    """Five inverted residuals with depthwise convolutions, 24 to 72 channels wide: a small network of the edge."""

    def __init__(self) -> None:
        super().__init__()
        widths = (24, 24, 40, 40, 72, 72)
        self.stem = unit(3, 24, 3, stride=2)
        self.blocks = nn.ModuleList(
            nn.Sequential(unit(a, 3 * a, 1), unit(3 * a, 3 * a, 3, 1 + (a != b), 3 * a), unit(3 * a, b, 1, act=False))
            for a, b in itertools.pairwise(widths)
        )
        self.fc = nn.Linear(72, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(N, 10)`` of images ``(N, 3, H, W)``."""
        x = self.stem(images)
        for block in self.blocks:
            y = block(x)
            x = x + y if y.shape == x.shape else y
        return self.fc(x.mean((2, 3)))


def unit(a: int, b: int, kernel: int, stride: int = 1, groups: int = 1, *, act: bool = True) -> nn.Sequential:
    """A convolution, batch-norm, and an activation."""
    convolution = nn.Conv2d(a, b, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(b), *([nn.ReLU6()] if act else []))


NETWORKS: dict[str, tuple[Any, tuple[int, int, int]]] = {
    "digits": (lambda: build_model("resnet8", {"width": 16, "in_channels": 1}, 10), (1, 8, 8)),
    "resnet20": (lambda: build_model("resnet20", {}, 10), (3, 32, 32)),
    "resnet56": (lambda: build_model("resnet56", {}, 10), (3, 32, 32)),
    "mobilenet_v2": (lambda: build_model("mobilenet_v2", {}, 10), (3, 96, 96)),
    "inverted": (Inverted, (3, 64, 64)),
}


def in_multiples(space: SearchSpace, multiple: str) -> SearchSpace:
    """The space with widths in these multiples; ``auto`` as where nothing was measured."""
    return space.rounded(usual_steps(space.groups) if multiple == "auto" else int(multiple))


def time_networks(name: str, args: argparse.Namespace) -> None:
    """Candidates of every multiple and the dense network, exported and measured in turns."""
    build, shape = NETWORKS[name]
    torch.manual_seed(0)
    model, folder = build().eval(), args.work / name
    folder.mkdir(parents=True, exist_ok=True)
    whole = eyas.trace(model, (torch.zeros(1, *shape),))
    for share in args.shares:
        files, owners = [folder / "dense.onnx"], ["dense"]
        Exporter.parse("onnx")(model, whole.example[0][0], files[0])
        for multiple in MULTIPLES:
            space = in_multiples(whole, multiple)
            try:
                rows = Sampler.parse("budget").ask(space, Budget.of(space, "macs", share), CANDIDATES, seed=1)
            except BudgetError as error:
                print(f"{name}, multiples of {multiple}: {error}")
                continue
            for number, row in enumerate(np.asarray(rows)):
                path = folder / f"{share}-{multiple}-{number}.onnx"
                Exporter.parse("onnx")(eyas.prune(model, space, space.plan(row)).eval(), space.example[0][0], path)
                files.append(path)
                owners.append(multiple)
        opened = [open_onnx(str(file), 1, 1) for file in files]
        times = np.min([time_together(opened) for _ in range(TURNS)], axis=0)
        of = {m: [float(t) for t, o in zip(times, owners, strict=True) if o == m] for m in ("dense", *MULTIPLES)}
        append_row(ROWS, {"kind": "time", "model": name, "share": share, "milliseconds": of})


def search(bench: Bench, args: argparse.Namespace) -> None:
    """One default search per multiple, budget and seed, and its winner trained."""
    key = ("model", "share", "multiple", "seed")
    finished = {tuple(row[name] for name in key) for row in read_rows(ROWS) if row["kind"] == "accuracy"}
    images = bench.images
    for seed in args.seeds:
        for share in args.shares:
            for multiple in args.multiples:
                if (args.model, share, multiple, seed) in finished:
                    continue
                space = in_multiples(bench.space, multiple)
                try:
                    result = eyas.search(
                        bench.model, space, {"macs": share}, images.calibration, images.scoring, images.labels,
                        criterion={"kind": "weight_activation", "activation": "std"}, candidates=SEARCHED, seed=seed,
                    )  # fmt: skip
                except BudgetError as error:
                    print(f"{args.model}, multiples of {multiple}: {error}")
                    continue
                small = built(bench, result.plan, "least_squares")
                tuned = trained_accuracy(bench, small, Recipe(args.steps, args.rate))
                row = {"kind": "accuracy", **dict(zip(key, (args.model, share, multiple, seed), strict=True))}
                macs = result.cost.macs / space.cost().macs
                append_row(ROWS, {**row, "steps": args.steps, "macs": macs, "accuracy": tuned})


def report(rows: list[dict[str, Any]]) -> None:
    """Time as a share of the dense network's, median and range of the candidates; accuracy over the seeds."""
    header = ["network", "MACs", "dense, ms", *(f"multiples of {multiple}" for multiple in MULTIPLES)]
    newest = {(row["model"], row["share"]): row["milliseconds"] for row in rows if row["kind"] == "time"}
    lines: list[list[object]] = []
    for (name, share), times in newest.items():
        dense = times["dense"][0]
        shares = ([time / dense for time in times.get(multiple, ())] for multiple in MULTIPLES)
        cells = (f"{statistics.median(s):.2f} ({min(s):.2f} to {max(s):.2f})" if s else "none" for s in shares)
        lines.append([name, f"{share:.0%}", f"{dense:.3f}", *cells])
    trained = [row for row in rows if row["kind"] == "accuracy"]
    body = []
    for name, share, steps in dict.fromkeys((row["model"], row["share"], row["steps"]) for row in trained):
        same = [row for row in trained if (row["model"], row["share"], row["steps"]) == (name, share, steps)]
        cells = []
        for multiple in MULTIPLES:
            values = [row["accuracy"] for row in same if row["multiple"] == multiple]
            cells.append(f"{mean_and_error(values)} (n = {len(values)})" if values else "none")
        body.append([name, f"{share:.0%}", f"{steps} steps", *cells])
    notes = [
        f"time: ONNX Runtime, one image, one thread; {CANDIDATES} random candidates, untrained, as shares of the dense "
        f"network's time, median and range; all of a network in turns, each the least of {TURNS} medians",
        f"accuracy: winners of the default search among {SEARCHED}, refitted and trained, percent of all test images",
    ]
    second = table(["network", "MACs", "trained", *header[3:]], body)
    publish("alignment", "Widths in multiples", notes, f"{table(header, lines)}\n\n{second}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=[*NETWORKS], choices=NETWORKS, help="to time")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.5], help="of the dense MACs")
    parser.add_argument("--checkpoint", type=Path, help="search and train instead: the adapted dense network")
    parser.add_argument("--model", default="resnet20", help="of the checkpoint")
    parser.add_argument("--multiples", nargs="+", default=[*MULTIPLES], choices=MULTIPLES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=200, help="of the fine-tuning")
    parser.add_argument("--rate", type=float, default=0.05, help="its peak learning rate")
    parser.add_argument("--work", type=Path, default=Path(".eyas/bench"))
    parser.add_argument("--report", action="store_true", help="measure nothing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.report:
        report(read_rows(ROWS))
    elif args.checkpoint:
        search(Bench.from_arguments(args), args)
    else:
        for name in args.models:
            time_networks(name, args)


if __name__ == "__main__":
    main()
