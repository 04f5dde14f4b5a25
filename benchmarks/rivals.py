r"""Is the network better than what one would get otherwise, at the same cost? Other tools and methods beside ours.

    python -m benchmarks.rivals --model resnet20 --checkpoint ADAPTED.safetensors --runs 3

needs EYAS_DATA (CIFAR-10 as Parquet, pretrained weights). Same dense network, same images, same fine-tuning, one
counter of MACs. Other tools run in an environment of their own, made with pip under ``--work`` when first needed. Every
measurement is a line of ``results/rivals.jsonl``; what is there is not measured again. ``--report`` writes the table
and the picture of what is there into ``docs/rivals.md``.
"""

import argparse
import copy
import functools
import json
import os
import re
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import eyas
from benchmarks import rival_pruners
from benchmarks.candidates import Bench, Recipe, accuracy, draw, published_score, recalibrated, trained_accuracy
from benchmarks.common import RESULTS, append_row, mean_and_error, publish, read_rows, table
from benchmarks.criteria import uniform_widths_parser
from eyas.pruning.criteria import Criterion
from eyas.sampling.budget import Budget
from eyas.sampling.samplers import Sampler
from eyas.sampling.search import SearchOptions
from eyas.scoring import DEFAULT_RUNGS, Rung

ROOT = Path(__file__).parents[1]
ROWS = RESULTS / "rivals.jsonl"
PAGE = ROOT / "docs/rivals.md"
PICTURE = ROOT / "docs/images/rivals.png"
KEY = ("model", "dense", "share", "method", "draw", "steps", "order")
"""What makes a measurement."""
SHARES = (0.5, 0.25, 0.125)
"""Of the dense MACs: the columns of the table."""
CRITERION = {"kind": "weight_activation", "activation": "std"}
"""What decides in ``eyas`` which channels are kept."""
PUBLISHED_CANDIDATES = 50
LARGEST_RATE = {0.5: 0.7, 0.25: 0.8, 0.125: 0.9}
"""Of channels removed from a group, in the published sampler."""
PACKAGES = (
    *("torch==2.13.0", "torch-pruning==1.6.1", "torch-kirigami==0.2.1"),
    *("nvidia-modelopt==0.47.0", "torchprofile==0.0.4", "huggingface_hub<1", "torchvision"),
    *("pydantic", "safetensors", "pyarrow", "pillow", "pyyaml", "boto3"),
)
"""Other tools, and what our library and the fetching of the images need beside them."""

Pruned = Callable[[Bench, float, int], nn.Module]
"""From the data, the share of the dense MACs and the number of the draw to a network."""


@dataclass(frozen=True)
class Method:
    """One way to a network at a budget."""

    label: str
    prune: Pruned
    sampled: bool = False
    """Each fine-tuning starts from another draw."""
    other_tool: bool = False
    """Runs in the environment of the other tools."""


def search(
    bench: Bench,
    share: float,
    seed: int,
    *,
    criterion: Any,
    refit: bool,
    sampler: str | dict[str, Any] = "evolution",
    scorer: str | None = None,
    rungs: Sequence[Rung] | None = None,
) -> nn.Module:
    """One call of ours, its defaults where nothing else is named, and the winner built."""
    images, chosen = bench.images, Criterion.parse(criterion)
    data = (images.calibration, images.scoring, images.labels)
    how: dict[str, Any] = {"criterion": chosen, "sampler": Sampler.parse(sampler), "seed": seed}
    options = SearchOptions(scorer=scorer, rungs=rungs)
    result = eyas.search(bench.model, bench.space, {"macs": share}, *data, **how, options=options)
    return result.build(refit=refit)


def uniform(bench: Bench, share: float, _: int, *, criterion: Any, refit: bool = False) -> nn.Module:
    """The same share of every group."""
    widths = draw(bench.space, share, 1, seed=0).widths[0]
    plan = bench.space.plan(widths, Criterion.parse(criterion), data=bench.images.calibration)
    small = eyas.prune(bench.model, bench.space, plan)
    if refit:
        eyas.refit(bench.model, small, bench.space, plan, bench.images.calibration)
    return small


def eagleeye(bench: Bench, share: float, seed: int) -> nn.Module:
    """The published procedure (Li et al. 2020, arXiv:2007.02491): drawn, rejected, scored and chosen as published."""
    rng, channels = np.random.default_rng(seed), np.array([group.channels for group in bench.space.groups])
    budget, kept = Budget.of(bench.space, "macs", share), np.empty((0, len(channels)), np.int64)
    while len(kept) < PUBLISHED_CANDIDATES:
        rates = rng.uniform(0, LARGEST_RATE[share], (100_000, len(channels)))
        widths = np.maximum(channels - np.floor(channels * rates).astype(np.int64), 1)
        kept = np.concatenate([kept, widths[budget.holds(budget.costs(bench.space, widths))]])
    planner = bench.space.planner(Criterion.parse("l1_norm"))
    plans = [planner(widths) for widths in kept[:PUBLISHED_CANDIDATES]]
    return eyas.prune(bench.model, bench.space, max(plans, key=functools.partial(published_score, bench)))


def _tool(prune: Callable[..., nn.Module], **options: Any) -> Pruned:
    return lambda bench, share, _: prune(bench, share, **options)


def _torch_pruning(label: str, **options: Any) -> Method:
    return Method(f"Torch-Pruning, {label}", _tool(rival_pruners.torch_pruning, **options), other_tool=True)


PLAIN: dict[str, Any] = {"sampler": "budget", "scorer": "cross_entropy", "rungs": DEFAULT_RUNGS}
"""Of candidates as they are pruned; labels judge their answers."""
METHODS = {
    "eyas": Method("**eyas**", functools.partial(search, criterion=CRITERION, refit=True), sampled=True),
    "eyas_one_by_one": Method(
        "eyas before: groups drawn one by one",
        functools.partial(search, criterion=CRITERION, refit=True, sampler={"kind": "evolution", "alike": 0}),
        sampled=True,
    ),
    "eyas_cross_entropy": Method(
        "eyas as it was: random widths, cross-entropy",
        functools.partial(search, criterion=CRITERION, refit=True, **PLAIN),
        sampled=True,
    ),
    "uniform": Method("uniform widths, L1", functools.partial(uniform, criterion="l1_norm")),
    "tp_l2": _torch_pruning("global L2", global_pruning=True),
    "tp_l2_inner": _torch_pruning("global L2, streams whole", global_pruning=True, streams=False),
    "tp_equal": _torch_pruning("equal shares, L2"),
    "tp_equal_inner": _torch_pruning("equal shares, L2, streams whole", streams=False),
    "tp_taylor": _torch_pruning("global Taylor", global_pruning=True, importance="GroupTaylor"),
    "tp_taylor_inner": _torch_pruning(
        "global Taylor, streams whole", global_pruning=True, importance="GroupTaylor", streams=False
    ),
    "tp_hessian": _torch_pruning("global Hessian", global_pruning=True, importance="GroupHessian"),
    "tp_equal_taylor": _torch_pruning("equal shares, Taylor", importance="GroupTaylor"),
    "tp_isomorphic": _torch_pruning("isomorphic, L2", global_pruning=True, isomorphic=True),
    "fastnas": Method("ModelOpt FastNAS", _tool(rival_pruners.fastnas), other_tool=True),
    "kirigami": Method("torch-kirigami, greedy L2", _tool(rival_pruners.kirigami), other_tool=True),
    "eagleeye": Method(f"published EagleEye, {PUBLISHED_CANDIDATES} candidates", eagleeye),
    "eyas_l1": Method(
        "eyas at first: the same, L1 and no refit",
        functools.partial(search, criterion="l1_norm", refit=False, **PLAIN),
        sampled=True,
    ),
    "uniform_same": Method(
        "uniform widths, the criterion of eyas", functools.partial(uniform, criterion=CRITERION)
    ),
    "uniform_refit": Method(
        "uniform widths, criterion and refit of eyas", functools.partial(uniform, criterion=CRITERION, refit=True)
    ),
}  # fmt: skip


def measure(bench: Bench, args: argparse.Namespace) -> None:
    """Everything that is asked for and not there yet, every method once before any a second time."""
    finished = {tuple(row[name] for name in KEY) for row in read_rows(ROWS)}
    networks: dict[tuple[str, float, int], tuple[nn.Module | None, dict[str, Any]]] = {}
    for run in range(1, args.runs + 1):
        for share in args.shares:
            for name in args.methods:
                number = run if METHODS[name].sampled else 0
                for steps in args.steps:
                    key = (args.model, args.dense, share, name, number, steps, run)
                    if key in finished:
                        continue
                    if (name, share, number) not in networks:
                        networks[name, share, number] = pruned(bench, METHODS[name], share, number)
                    network, row = networks[name, share, number]
                    if network is not None:
                        small = copy.deepcopy(network)
                        row = {**row, "accuracy": trained_accuracy(bench, small, Recipe(steps, args.rate), run)}
                    append_row(ROWS, {**dict(zip(KEY, key, strict=True)), **row})


def pruned(bench: Bench, method: Method, share: float, number: int) -> tuple[nn.Module | None, dict[str, Any]]:
    """A recalibrated network and what is known of it before training; without a network, what another tool said."""
    torch.manual_seed(number)
    start = time.process_time()
    try:
        network = method.prune(bench, share, number)
    except Exception as error:  # whatever a user of the tool would see
        if not method.other_tool:
            raise
        return None, {"error": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"}
    seconds = time.process_time() - start
    dense = rival_pruners.count_macs(bench.model, bench.images.scoring)
    macs = rival_pruners.count_macs(network, bench.images.scoring) / dense
    network = recalibrated(bench, network)
    return network, {"macs": macs, "seconds": seconds, "untrained": accuracy(network, *bench.test)}


def python_of_other_tools(work: Path) -> Path:
    """An interpreter that has them, installed when first asked for."""
    folder = work.absolute() / "rivals-venv"
    ready, python = folder / "installed.txt", folder / "bin/python"
    if not ready.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", *PACKAGES], check=True)
        ready.write_text(
            subprocess.run([python, "-m", "pip", "freeze"], check=True, capture_output=True, text=True).stdout
        )
    return python


def measure_with_other_tools(args: argparse.Namespace, names: list[str]) -> None:
    """This benchmark once more, by the interpreter that has the other tools; it appends its rows itself."""
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    words = [*sys.argv[1:], "--methods", *names]
    command = [python_of_other_tools(args.work), "-m", "benchmarks.rivals", *words]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": paths})


def report(rows: list[dict[str, Any]]) -> None:
    """A table per network and number of steps, a line per method; the page gets them, too."""
    parts = []
    for model, steps in dict.fromkeys((row["model"], row["steps"]) for row in rows):
        same = [row for row in rows if (row["model"], row["steps"]) == (model, steps)]
        lines = [line_of([row for row in same if row["method"] == name], name) for name in METHODS]
        header = ["method"]
        for share in SHARES:
            header += [f"{100 * share:g} % of the MACs", "untrained"]
        body = table([*header, "CPU s of the search", "runs"], [line for line in lines if any(line[1:])])
        parts.append(f"**{model}, {steps} steps**\n\n{body}")
    body = "\n\n".join(parts)
    notes = ["mean and standard error in percent; docs/rivals.md says how it is measured and how each was set up"]
    publish("rivals", "At the same cost: other methods and tools", notes, body)
    page = PAGE.read_text()
    PAGE.write_text(re.sub(r"(<!-- table -->\n).*(<!-- end -->)", lambda m: f"{m[1]}{body}\n{m[2]}", page, flags=re.S))
    plot(rows)


def line_of(rows: list[dict[str, Any]], name: str) -> list[str]:
    """A method: accuracy after and before training by budget, CPU seconds of its longest search."""
    cells: list[str] = []
    for share in SHARES:
        values = [row for row in rows if row["share"] == share]
        measured = [row for row in values if "accuracy" in row]
        if not measured:
            cells += ["failed" if values else "", ""]
            continue
        macs = np.mean([row["macs"] for row in measured])
        outside = "" if abs(macs - share) < 0.0051 else f" at {100 * macs:.1f} %"
        cells.append(mean_and_error([row["accuracy"] for row in measured]) + outside)
        cells.append(f"{100 * np.mean([row['untrained'] for row in measured]):.1f}")
    counts = [sum(row["share"] == share and "accuracy" in row for row in rows) for share in SHARES]
    if not any(counts):
        return [METHODS[name].label, *cells, "", ""]
    seconds = max(row["seconds"] for row in rows if row["share"] in SHARES and "seconds" in row)
    return [METHODS[name].label, *cells, f"{seconds:.0f}", " / ".join(map(str, counts))]


def plot(rows: list[dict[str, Any]]) -> None:
    """Accuracy against MACs, a panel per network, a line per method."""
    import matplotlib.pyplot as plt

    rows = [row for row in rows if "accuracy" in row and row["share"] in SHARES and row["steps"] == 200]
    models = list(dict.fromkeys(row["model"] for row in rows))
    figure, axes = plt.subplots(1, len(models), figsize=(6.4 * len(models), 4.6), layout="constrained", squeeze=False)
    colours = {name: plt.colormaps["tab20"](number) for number, name in enumerate(METHODS)}
    for axis, model in zip(axes[0], models, strict=True):
        for name, method in METHODS.items():
            points = []
            for share in SHARES:
                values = [row for row in rows if (row["model"], row["method"], row["share"]) == (model, name, share)]
                if values:
                    after = [100 * row["accuracy"] for row in values]
                    error = np.std(after, ddof=1) / len(after) ** 0.5 if len(after) > 1 else 0
                    points.append((100 * np.mean([row["macs"] for row in values]), np.mean(after), error))
            if points:
                style = {"lw": 2.6, "zorder": 3, "color": "black"} if name == "eyas" else {"color": colours[name]}
                label = method.label.replace("*", "")
                axis.errorbar(*zip(*points, strict=True), marker="o", ms=3.5, capsize=2, label=label, **style)
        axis.set_xscale("log", base=2)
        axis.set_xticks([100 * share for share in SHARES], [f"{100 * share:g} %" for share in SHARES])
        axis.set_title(f"{model}, CIFAR-10 (JPEG copies), 200 steps", fontsize=10)
        axis.set_xlabel("MACs, of the dense network")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    axes[0][0].set_ylabel("test accuracy after fine-tuning, %")
    figure.savefig(PICTURE, dpi=80)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = uniform_widths_parser(__doc__, [200])
    parser.add_argument("--methods", nargs="+", default=[*METHODS], choices=METHODS, metavar="METHOD")
    parser.add_argument("--arguments", type=json.loads, default={}, help="of the model, as JSON")
    parser.add_argument("--runs", type=int, default=3, help="fine-tunings of each, in other orders and of other draws")
    return parser.parse_args()


def main() -> None:
    """Measure, or go on measuring; or report."""
    args = parse()
    args.dense = "adapted" if args.checkpoint else "public"
    torch.set_num_threads(1)
    if args.report:
        report(read_rows(ROWS))
        return
    args.work.mkdir(parents=True, exist_ok=True)
    if Path(sys.prefix) != args.work.absolute() / "rivals-venv":
        others = [name for name in args.methods if METHODS[name].other_tool]
        args.methods = [name for name in args.methods if name not in others]
        if others:
            measure_with_other_tools(args, others)
    if args.methods:
        dense = {"checkpoint": args.checkpoint, "arguments": args.arguments}
        measure(Bench.prepare(args.model, 0.5, 1, seed=0, work=args.work, **dense), args)


if __name__ == "__main__":
    main()
