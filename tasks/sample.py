"""Stage ``sample``: the search space of the dense network, and candidates inside the budget."""

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eyas.config import PipelineParams
from eyas.data import open_dataset
from eyas.networks.saved_network import Network
from eyas.progress import Progress
from eyas.pruning.space import SearchSpace
from eyas.sampling.budget import Budget
from eyas.sampling.budget_limits import METRICS
from eyas.sampling.measured import Measured
from tasks import stage
from tasks.criterion_data import criterion_data
from tasks.dense_network import load_dense
from tasks.drawn_candidates import ERRORS, budget_of, candidate_table, generations_of, needs_words
from tasks.rounding import multiples_of, rounded
from tasks.search_space import EXAMPLE_INPUTS, SPACE, trace_network

_IMAGES = 4096  # of the calibration split, at most: as many as rank channels in score where nothing else is said
_log = logging.getLogger(__name__)

FIELDS = {name: f"sample.{name}" for name in ("budget", "tolerance", "ignore", "round_to", "min_width", "depth")} | {
    "latency": "sample.latency_profile",
    "table": "sample.latency_profile",
    "metric": "sample.budget",
    "images": "the images of the calibration split",
    "levels": "sample.sampler.levels",
    "sampler": "sample.sampler",
    "example_inputs": EXAMPLE_INPUTS,
    "output": "baseline.output",
}
"""The parameter behind each argument that the library's messages name."""


def sample(params: PipelineParams, artifacts: Path, progress: Progress) -> stage.Metrics:
    """Trace the network and draw ``sample.candidates`` distinct candidates, each inside the band.

    Of a sampler that learns from scores these are the first generation; ``score`` asks it for the others.

    Raises:
        BudgetError: no candidate can meet the budget; states the reachable range.
        TraceError: the network cannot be captured.
    """
    settings = params.sample
    progress(0, 2, "tracing the network")
    network = load_dense(params, artifacts)
    space = rounded(trace_network(network, settings), settings)
    _log.info("widths: %s", multiples_of(space))
    settings.sampler.check_space(space)
    stage.write_json(artifacts / SPACE, space.to_json())
    table = _measured(params, artifacts, network, space) if settings.sampler.needs_table else None
    stage.write_json(artifacts / ERRORS, table.to_json() if table is not None else None)
    generations = generations_of(space, settings, table)
    progress(1, 2, f"{len(space.groups)} groups; drawing candidates")
    candidates = candidate_table(space, generations.budget, generations.first())
    pq.write_table(candidates, artifacts / "sample" / "candidates.parquet")
    progress(2, 2, f"{len(candidates)} candidates")
    further = {"candidates_at_most": settings.candidates} if settings.sampler.learns else {}
    return _metrics(space, generations.budget, candidates) | further


def _measured(params: PipelineParams, artifacts: Path, network: Network, space: SearchSpace) -> Measured | None:
    """What the sampler needs to know of the dense network, on images of the calibration split."""
    dataset, sampler = open_dataset(artifacts / "fetch"), params.sample.sampler
    images = dataset.normalise(dataset.split("calibration").images(limit=_IMAGES))
    model = network.model.to(stage.device(params.runtime)).eval()
    rated_by = criterion_data(params.sample.criterion, dataset, images, network.output)
    planner = space.planner(params.sample.criterion, model=model, data=rated_by)
    labels = criterion_data(sampler, dataset, images, network.output).labels
    budget = budget_of(space, params.sample)
    return sampler.measure_with(model, space, planner, images, labels=labels, budget=budget, output=network.output)


def _metrics(space: SearchSpace, budget: Budget, candidates: pa.Table) -> dict[str, float | int]:
    dense = space.cost()
    numbers: dict[str, float | int] = {"candidates": len(candidates), **_limits(space, budget, candidates)}
    numbers |= {"groups": len(space.groups), "frozen_groups": len(space.frozen)}
    if space.blocks:
        numbers["residual_blocks"] = len(space.blocks)
    for name in METRICS:
        values = candidates[name].to_numpy()
        numbers |= {
            f"dense_{name}": getattr(dense, name),
            f"{name}_min": int(values.min()),
            f"{name}_max": int(values.max()),
        }
    return numbers


def _limits(space: SearchSpace, budget: Budget, candidates: pa.Table) -> stage.Metrics:
    """One of what every candidate is told with is ``budget``; else each limit, and how many candidates it binds."""
    if not needs_words(budget):
        return {"budget": budget.target}
    dense = budget.costs_by_limit(space, space.vector(None)[None])[:, 0].tolist()
    binding = Counter(budget.binding(space, np.array(candidates["widths"].to_pylist())))
    counts = ", ".join(f"{name} {count}" for name, count in binding.most_common())
    _log.info("candidates by the limit that binds them: %s", counts)
    numbers: dict[str, float | int] = {}
    for limit, cost in zip(budget.limits, dense, strict=True):
        numbers |= {f"budget_{limit.metric}": limit.target, f"dense_{limit.metric}": cost}
        numbers[f"bound_by_{limit.metric}"] = binding[limit.metric]
    return numbers


if __name__ == "__main__":
    stage.main("sample", sample, FIELDS)
