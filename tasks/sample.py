"""Stage ``sample``: the search space of the dense network, and candidates inside the budget."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

import eyas
from eyas.config import BudgetParams, PipelineParams, SampleParams
from eyas.networks.dense_network import Network, load_network
from eyas.progress import Progress
from eyas.pruning.space import SearchSpace
from eyas.sampling.budget import METRICS, Budget
from eyas.sampling.search import Search
from tasks import stage


def sample(params: PipelineParams, artifacts: Path, progress: Progress) -> stage.Metrics:
    """Trace the network and draw ``sample.candidates`` distinct candidates, each inside the band.

    Raises:
        BudgetError: no candidate can meet the budget; states the reachable range.
        TraceError: the network cannot be captured.
    """
    given, folder = params.sample, artifacts / "sample"
    progress(0, 2, "tracing the network")
    space = trace_network(load_network(artifacts / "baseline"), given)
    stage.write_json(folder / "space.json", space.to_json())
    budget = find_budget(space, given.budget, given.tolerance)
    progress(1, 2, f"{len(space.groups)} groups; drawing candidates")
    widths = Search(space, budget, given.sampler, seed=given.seed).ask(given.candidates)
    costs = write_candidates(space, widths, folder / "candidates.parquet")
    progress(2, 2, f"{len(widths)} candidates")
    return _metrics(space, budget, costs)


def trace_network(network: Network, given: SampleParams) -> SearchSpace:
    """The search space as ``params.sample`` limits it; the same in every stage that needs it."""
    return eyas.trace(
        network.model,
        (network.example(),),
        ignore=given.ignore,
        round_to=given.round_to,
        min_width=given.min_width,
    )


def find_budget(space: SearchSpace, given: BudgetParams, tolerance: float) -> Budget:
    """The band that ``sample.budget`` asks for."""
    values = {name: getattr(given, name, None) for name in METRICS}
    metric, value = next((name, value) for name, value in values.items() if value is not None)
    return Budget.of(space, metric, value, tolerance)


def write_candidates(space: SearchSpace, widths: NDArray[np.int64], path: Path) -> dict[str, NDArray[np.int64]]:
    """The table of candidates with their costs, which are returned by name."""
    found = space.costs(widths)
    costs = {name: np.asarray(getattr(found, name)) for name in METRICS}
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
    stage.main("sample", sample)
