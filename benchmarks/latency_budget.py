r"""Half of the dense latency as the budget: is it met end to end, and is the network as accurate as a MACs budget's?

    python -m benchmarks.latency_budget --model resnet20 --checkpoint ADAPTED.safetensors --orders 3

needs EYAS_DATA (CIFAR-10 as Parquet, pretrained weights) and ONNX Runtime. The layers are profiled here, one thread,
batch 1; then three searches: half the latency, half the MACs, and the share of the MACs whose candidates are predicted
to take half the latency. Winners are refitted and fine-tuned alike, and timed end to end in turns with the dense
network. All is kept under ``--work``; accuracies are lines of ``results/latency_budget.jsonl``.
"""

import argparse

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import eyas
from benchmarks.candidates import Bench, Recipe, recalibrated, trained_accuracy
from benchmarks.common import RESULTS, append_row, mean_and_error, publish, read_rows, table
from benchmarks.criteria import uniform_widths_parser
from eyas.deploy.latency import LatencyModel, LatencyTable
from eyas.deploy.latency.device_profile import profile
from eyas.deploy.latency.whole_networks import time_networks
from eyas.pruning.plan import PruningPlan
from eyas.pruning.space import SearchSpace
from eyas.sampling.budget import Budget
from eyas.sampling.samplers import Sampler

ROWS = RESULTS / "latency_budget.jsonl"
SHARE = 0.5
LABELS = {
    "latency": "half of the latency",
    "macs": "half of the MACs",
    "macs_as_fast": "MACs of which half the latency is predicted",
}


def macs_as_fast(space: SearchSpace, latency: LatencyModel) -> float:
    """The share of the MACs at which candidates are predicted to take half the latency in the median."""
    low, high = 0.02, 0.98
    for _ in range(8):
        middle = (low + high) / 2
        widths = Sampler.parse("budget").ask(space, Budget.of(space, "macs", middle), 200, seed=0)
        slow = np.median(latency.milliseconds(widths)) > SHARE * latency.dense_ms
        low, high = (low, middle) if slow else (middle, high)
    return round((low + high) / 2, 3)


def winner(bench: Bench, latency: LatencyModel, name: str, args: argparse.Namespace) -> nn.Module:
    """The network that a search ends with, refitted; searched for once, and kept as its plan and weights."""
    plan_file, weights = (args.work / f"{name}.{suffix}" for suffix in ("json", "safetensors"))
    if not weights.exists():
        limit = {
            "latency": {"latency": SHARE},
            "macs": {"macs": SHARE},
            "macs_as_fast": {"macs": macs_as_fast(bench.space, latency)},
        }[name]
        data = (bench.images.calibration, bench.images.scoring, bench.images.labels)
        options = eyas.SearchOptions(latency=latency)
        result = eyas.search(bench.model, bench.space, limit, *data, candidates=args.candidates, options=options)
        plan_file.write_text(result.plan.to_json())
        save_file({key: value.contiguous() for key, value in result.build().state_dict().items()}, weights)
    plan = PruningPlan.from_json(plan_file.read_text())
    small = eyas.prune(bench.model, bench.space, plan)
    small.load_state_dict(load_file(weights))
    return small


def main() -> None:
    """Profile, search, fine-tune, time, report; what is there already is not done again."""
    parser = uniform_widths_parser(__doc__, [200])
    parser.add_argument("--candidates", type=int, default=200)
    args = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench.from_arguments(args)
    device = args.work / "device.json"
    if not device.exists():
        profile(bench.space, cache=args.work / "latency").write(device)
    latency = LatencyModel(bench.space, LatencyTable.read(device))
    (steps,) = args.steps
    for order in range(1, args.orders + 1):
        for name in LABELS:
            key = {"model": args.model, "method": name, "order": order, "steps": steps}
            small = winner(bench, latency, name, args)
            if not any(key.items() <= row.items() for row in read_rows(ROWS)):
                trained = trained_accuracy(bench, recalibrated(bench, small), Recipe(steps, args.rate), order)
                append_row(ROWS, {**key, "accuracy": trained})
    report(bench.space, latency, args)


def report(space: SearchSpace, latency: LatencyModel, args: argparse.Namespace) -> None:
    """Time dense network and winners in turns, and write the table."""
    plans = [PruningPlan.from_json((args.work / f"{name}.json").read_text()) for name in LABELS]
    widths = np.stack([space.vector(None), *(space.vector(plan.widths) for plan in plans)])
    dense, *times = time_networks(space, widths, latency.table)
    predicted = latency.milliseconds(widths)
    lines: list[tuple[object, ...]] = [("dense", "100 %", latency.dense_ms, dense, "100 %", "")]
    for name, plan, expected, took in zip(LABELS, plans, predicted[1:], times, strict=True):
        accuracies = [row["accuracy"] for row in read_rows(ROWS) if (row["model"], row["method"]) == (args.model, name)]
        macs = space.cost(plan.widths).macs / space.cost().macs
        shares = f"{macs:.1%}", f"{took / dense:.1%}"
        lines.append((LABELS[name], shares[0], float(expected), float(took), shares[1], mean_and_error(accuracies)))
    header = ("budget", "MACs", "predicted ms", "measured ms", "of the dense", "test accuracy, %")
    notes = [
        f"{args.model}, CIFAR-10 (JPEG copies); {latency.table.where}; {args.candidates} candidates, one search each",
        f"{args.orders} fine-tunings of each winner, {args.steps[0]} steps; mean and standard error over orders",
    ]
    publish("latency_budget", "Half of the latency as the budget", notes, table(header, lines))


if __name__ == "__main__":
    main()
