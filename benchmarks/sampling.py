"""In-budget candidates per second, beside the published draw-and-reject sampler on the same closed-form cost.

    python -m benchmarks.sampling

Published (EagleEye, arXiv:2007.02491): one uniform rate per group in [0, r], dropped unless the MACs are within 0.5 %
of the dense network's around the budget; as published it builds and counts each network, here it may use our cost, so
that only the draws compare. r = 0.4, 0.7, 0.8 for 75, 50, 25 % of the MACs.
"""

import time

import numpy as np
import torch

import eyas
import models
from benchmarks.common import publish, table
from eyas.pruning.space import SearchSpace
from eyas.sampling.budget import Budget
from eyas.sampling.samplers import Sampler

NETWORKS = {"resnet50": (3, 224, 224), "mobilenet_v1": (3, 224, 224), "resnet20": (3, 32, 32)}
LARGEST_RATE = {0.75: 0.4, 0.5: 0.7, 0.25: 0.8}
COUNT = 50_000


def reject(space: SearchSpace, budget: Budget, rate: float) -> tuple[float, float]:
    """Share of draws inside the band, and accepted candidates per second."""
    rng = np.random.default_rng(0)
    channels = np.array([group.channels for group in space.groups])
    start = time.process_time()
    draws = rng.uniform(0, rate, (COUNT, len(channels)))
    widths = np.maximum(channels - np.floor(channels * draws).astype(np.int64), 1)
    kept = budget.holds(budget.costs(space, widths))
    return float(kept.mean()), float(kept.sum()) / (time.process_time() - start)


def main() -> None:
    """All networks and budgets."""
    torch.set_num_threads(1)
    rows = []
    for name, shape in NETWORKS.items():
        space = eyas.trace(models.build(name, 1000).eval(), (torch.zeros(1, *shape),))
        for share, rate in LARGEST_RATE.items():
            budget = Budget.of(space, "macs", share)
            start = time.process_time()
            widths = Sampler.parse("budget").ask(space, budget, COUNT, seed=0)
            speed = len(widths) / (time.process_time() - start)
            inside = float(budget.holds(budget.costs(space, widths)).mean())
            accepted, published = reject(space, budget, rate)
            rows.append(
                (
                    name,
                    f"{share:.0%}",
                    len(widths),
                    f"{inside:.0%}",
                    f"{speed:,.0f}",
                    f"{accepted:.2%}",
                    f"{published:,.0f}",
                )
            )
    header = (
        "network",
        "MACs",
        "distinct candidates",
        "inside",
        "per second",
        "published: inside",
        "published: per second",
    )
    notes = [f"{COUNT:,} candidates asked for, band of 0.5 % of the dense MACs on either side, one thread, CPU seconds"]
    publish("sampling", "Candidates placed onto a budget", notes, table(header, rows))


if __name__ == "__main__":
    main()
