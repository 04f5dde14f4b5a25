"""Trace, cost and slice times of the search space, beside Torch-Pruning's in the same run.

    python -m benchmarks.space [--threads 1] [--repeats 5]

Torch-Pruning 1.6.1 is the bench extra (``pip install torch-pruning==1.6.1``); without it its columns say so.
Random weights: times do not depend on them. Times are CPU times of the process, the median of the repeats.
"""

import argparse
import copy
import importlib.util
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import eyas
from benchmarks.common import publish, table
from models import build

CANDIDATES = 100_000
NETWORKS = {"resnet50": 224, "mobilenet_v1": 224, "resnet56": 32}
ABSENT = "not installed"
HAZARDS = ("chunk", "shuffle", "depthwise multiplier 2")


class Shuffled(nn.Module):
    """A split, a depthwise convolution with multiplier 2, a channel shuffle."""

    def __init__(self, hazard: str) -> None:
        super().__init__()
        self.hazard = hazard
        self.stem, self.depthwise = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1, groups=32)
        self.plain, self.head = nn.Conv2d(32, 64, 1), nn.Conv2d(64, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, 3, H, W) -> (N, 8, H, W)``."""
        x = functional.relu(self.stem(x))
        if self.hazard == "chunk":
            first, second = x.chunk(2, dim=1)
            x = torch.cat([second, functional.relu(first)], 1)
        if self.hazard == "shuffle":
            n, c, h, w = x.shape
            x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.head(self.depthwise(x) if self.hazard == "depthwise multiplier 2" else self.plain(x))


def median_ms(function: Callable[[], Any], repeats: int) -> float:
    """Median CPU time of the process in milliseconds: on a shared machine it says more than the clock."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(1e3 * (time.process_time() - start))
    return statistics.median(times)


def ours(model: nn.Module, images: Tensor, repeats: int) -> dict[str, float]:
    """Trace; cost of 100,000 candidates; plan and slice of one candidate at about half the MACs."""
    trace = median_ms(lambda: eyas.trace(model, (images,)), repeats)
    space = eyas.trace(model, (images,))
    generator = np.random.default_rng(0)
    matrix = np.stack([generator.choice(space.legal_widths(g), CANDIDATES) for g in space.groups], axis=1)
    widths = [int(legal[int(0.7 * len(legal))]) for legal in map(space.legal_widths, space.groups)]
    make = space.planner()
    plan = make(widths)
    return {
        "trace": trace,
        "cost": median_ms(lambda: space.costs(matrix), repeats),
        "plan": median_ms(lambda: make(widths), repeats),
        "slice": median_ms(lambda: eyas.prune(model, space, plan), max(repeats, 11)),
        "macs": space.cost(widths).macs / space.cost().macs,
    }


def theirs(model: nn.Module, images: Tensor, repeats: int) -> dict[str, float | str] | None:
    """The same steps with Torch-Pruning: graph, cost of one candidate, copy and prune at ratio 0.3."""
    if importlib.util.find_spec("torch_pruning") is None:
        return None
    import torch_pruning as tp

    def prune() -> nn.Module:
        small = copy.deepcopy(model)
        output = [module for module in small.modules() if isinstance(module, nn.Linear)][-1:]
        importance = tp.importance.MagnitudeImportance(p=1)
        tp.pruner.MagnitudePruner(small, images, importance, pruning_ratio=0.3, ignored_layers=output).step()
        return small

    graph = median_ms(lambda: tp.DependencyGraph().build_dependency(copy.deepcopy(model), images), repeats)
    small = prune()
    return {
        "trace": graph,
        "cost": _cost_of_many(lambda: tp.utils.count_ops_and_params(small, images), repeats),
        "slice": median_ms(prune, repeats),
    }


def _cost_of_many(count: Callable[[], Any], repeats: int) -> float | str:
    """Milliseconds for all candidates, or what went wrong when the pruned network ran."""
    try:
        return CANDIDATES * median_ms(count, repeats)
    except RuntimeError as error:
        return f"the pruned network fails: {str(error).splitlines()[0][:70]}"


def hazard(name: str) -> tuple[str, str, str]:
    """What both do on a network with one hazard: ours as parity, theirs as what a user would see."""
    torch.manual_seed(0)
    model, images = Shuffled(name).eval(), torch.randn(1, 3, 16, 16)
    space = eyas.trace(model, (images,))
    legal = {group.name: space.legal_widths(group) for group in space.groups}
    plan = space.plan({name: int(widths[len(widths) // 2]) for name, widths in legal.items()})
    parity = eyas.check_parity(model, space, plan).max_relative
    return name, f"{len(space.groups)} groups, parity {parity:.0e}", _their_outcome(model, images)


def _their_outcome(model: nn.Module, images: Tensor) -> str:
    """Pruned and run with Torch-Pruning, compared with the dense network that does not read what it removed."""
    if importlib.util.find_spec("torch_pruning") is None:
        return ABSENT
    import torch_pruning as tp

    small = copy.deepcopy(model)
    try:
        importance = tp.importance.MagnitudeImportance(p=1)
        tp.pruner.MagnitudePruner(small, images, importance, pruning_ratio=0.5, ignored_layers=[small.head]).step()
        before, after = sum(p.numel() for p in model.parameters()), sum(p.numel() for p in small.parameters())
        small(images)
    except Exception as error:  # whatever a user would see
        return f"{type(error).__name__}: {str(error).splitlines()[0][:60]}"
    return f"runs, {after / before:.0%} of the parameters, parity not checked"


def main() -> None:
    """Run, print, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    for name, size in NETWORKS.items():
        model = build(name, num_classes=10 if size == 32 else 1000).eval()
        images = torch.randn(1, 3, size, size)
        mine, other = ours(model, images, options.repeats), theirs(model, images, options.repeats)
        for step, label in (("trace", "trace, ms"), ("cost", f"cost of {CANDIDATES:,} candidates, ms"),
                            ("plan", "plan of one candidate, ms"),
                            ("slice", "slice of one candidate, ms")):  # fmt: skip
            rows.append((name, label, mine[step], ABSENT if other is None else other.get(step, "within slice")))
    body = table(("network", "step", "eyas", "Torch-Pruning 1.6.1"), rows)
    hazards = table(("hazard", "eyas", "Torch-Pruning 1.6.1"), map(hazard, HAZARDS))
    notes = (
        f"{options.threads} thread(s), median of {options.repeats} (slices: at least 11), CPU time of the process",
        "trace: eyas captures, propagates and runs the narrowed network once as a check; Torch-Pruning builds its "
        "dependency graph on a copy",
        "cost: eyas in closed form; Torch-Pruning counts on a built network, one candidate measured and multiplied",
        "slice: eyas from the dense model and a plan; Torch-Pruning prunes in place, so a copy, the graph and the "
        "importance are needed for each candidate",
    )
    publish("space", "Search space: trace, cost, slice", notes, f"{body}\n\n{hazards}")


if __name__ == "__main__":
    main()
