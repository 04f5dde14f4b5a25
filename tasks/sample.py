"""Stage ``sample``: the search space of the dense network, and candidates inside the budget."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from eyas.config import BudgetParams, PipelineParams
from eyas.progress import Progress
from eyas.pruning.space import SearchSpace
from eyas.sampling.budget import METRICS, Budget
from eyas.sampling.search import Search
from tasks import stage
from tasks.dense_network import load_dense
from tasks.search_space import EXAMPLE_INPUTS, SPACE, trace_network

FIELDS = {name: f"sample.{name}" for name in ("budget", "tolerance", "ignore", "round_to", "min_width")} | {
    "metric": "sample.budget",
    "example_inputs": EXAMPLE_INPUTS,
    "output": "baseline.output",
}
"""The parameter behind each argument that the library's messages name."""


def sample(params: PipelineParams, artifacts: Path, progress: Progress) -> stage.Metrics:
    """Trace the network and draw ``sample.candidates`` distinct candidates, each inside the band.

    Raises:
        BudgetError: no candidate can meet the budget; states the reachable range.
        TraceError: the network cannot be captured.
    """
    settings = params.sample
    progress(0, 2, "tracing the network")
    space = trace_network(load_dense(params, artifacts), settings)
    stage.write_json(artifacts / SPACE, space.to_json())
    budget = find_budget(space, settings.budget, settings.tolerance)
    progress(1, 2, f"{len(space.groups)} groups; drawing candidates")
    widths = Search(space, budget, settings.sampler, seed=settings.seed).ask(settings.candidates)
    costs = write_candidates(space, widths, artifacts / "sample" / "candidates.parquet")
    progress(2, 2, f"{len(widths)} candidates")
    return _metrics(space, budget, costs)


def find_budget(space: SearchSpace, limit: BudgetParams, tolerance: float) -> Budget:
    """The band that ``sample.budget`` asks for."""
    values = {name: getattr(limit, name, None) for name in METRICS}
    metric, value = next((name, value) for name, value in values.items() if value is not None)
    return Budget.of(space, metric, value, tolerance)


def write_candidates(space: SearchSpace, widths: NDArray[np.int64], path: Path) -> dict[str, NDArray[np.int64]]:
    """The table of candidates with their costs, which are returned by name."""
    of_all = space.costs(widths)
    costs = {name: np.asarray(getattr(of_all, name)) for name in METRICS}
    columns: dict[str, Any] = {"candidate": np.arange(len(widths)), "widths": list(widths), **costs}
    pq.write_table(pa.table(columns), path)
    return costs


def _metrics(space: SearchSpace, budget: Budget, costs: dict[str, NDArray[np.int64]]) -> stage.Metrics:
    dense = space.cost()
    numbers: dict[str, float | int] = {"candidates": len(costs["macs"]), "budget": budget.target}
    numbers |= {"groups": len(space.groups), "frozen_groups": len(space.frozen)}
    for name, values in costs.items():
        numbers |= {
            f"dense_{name}": getattr(dense, name),
            f"{name}_min": int(values.min()),
            f"{name}_max": int(values.max()),
        }
    return numbers


if __name__ == "__main__":
    stage.main("sample", sample, FIELDS)
