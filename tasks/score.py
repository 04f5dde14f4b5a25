"""Stage ``score``: an adaptive batch-norm score for every candidate, a ranking, and the winner's plan."""

import csv
import hashlib
import json
import logging
import math
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

import eyas
from eyas.config import PipelineParams
from eyas.data import Dataset, open_dataset
from eyas.errors import DataError
from eyas.networks.saved_network import Network
from eyas.parallel import cores, share_threads
from eyas.progress import Progress
from eyas.pruning.space import SearchSpace
from eyas.sampling.budget import Budget
from eyas.scoring import GrowingPlans, ScoreOptions, ScoreTable
from eyas.scoring.arguments import search_scorer
from eyas.scoring.device_copy import on_device
from eyas.scoring.diagnosis import diagnose
from eyas.scoring.engine import EXAMPLES
from eyas.scoring.scorers import Scorer
from tasks import stage
from tasks.criterion_data import criterion_data, criterion_metrics
from tasks.dense_network import load_dense
from tasks.drawn_candidates import ERRORS, candidate_table, generations_of, needs_words, read_measured
from tasks.latency_profile import latency_model
from tasks.measured_finalists import keep_latency
from tasks.recorded_cost import COSTS, require_costs
from tasks.search_space import SPACE, read_space
from tasks.uniform_widths import write_uniform_plan

_log = logging.getLogger(__name__)
SAMPLED = "sample/candidates.parquet"
INPUTS = (
    "fetch/manifest.json",
    "baseline/architecture.json",
    "baseline/model.safetensors",
    SPACE,
    SAMPLED,
    ERRORS,
)
FIELDS = {
    "model": "the network of baseline",
    "space": "the search space of sample",
    "plans": "the candidates of sample",
    "calibration_images": "the images of the calibration split (score.calibration_images)",
    "images": "the images of the calibration split",
    "scoring_images": "the images of the score split (score.score_images)",
    "scoring_labels": "the labels of the score split",
    "training": "the images of the train split",
    "rungs": "score.rungs",
    "device": "runtime.device",
    "seed": "score.seed",
    "calibrator": "score.calibrator",
    "scorer": "score.scorer",
    "prior": "score.prior",
    "reward": "score.reward",
    "batch_size": "score.batch_size",
    "output": "baseline.output",
    "budget": "sample.budget",
    "latency": "sample.latency_profile",
    "table": "sample.latency_profile",
    "tolerance": "sample.tolerance",
    "round_to": "sample.round_to",
    "min_width": "sample.min_width",
    "stop_margin": "score.stop_margin",
    "workers": "runtime.workers",
    "threads": "runtime.threads",
    "cluster": "runtime.cluster",
    "uniform": "finetune.compare_uniform",
    "journal": "the journal below runtime.state",
}
"""What the arguments of :func:`eyas.score`, and of samplers that it asks again, are in ``params.yaml``."""


def score(params: PipelineParams, artifacts: Path, progress: Progress) -> stage.Metrics:
    """Race the candidates of ``sample`` and write the ranked table; goes on where a killed run stopped.

    Raises:
        DataError: the candidates belong to another search space or cost something else than is written beside them, or
            a split is too small.
    """
    network, folder = load_dense(params, artifacts), artifacts / "score"
    space = read_space(artifacts, network)
    candidates = pq.read_table(artifacts / SAMPLED)
    widths, dataset = _widths(candidates, space), open_dataset(artifacts / "fetch")
    runtime, macs = params.runtime, space.cost().macs * params.score.batch_size
    threads = share_threads(cores(), workers=runtime.workers, wanted=runtime.threads, macs=macs)
    torch.set_num_threads(threads)
    calibration = _images(dataset, "calibration", params.score.calibration_images)
    ranked = on_device(network.model, stage.device(params.runtime))
    rated_by = criterion_data(params.sample.criterion, dataset, calibration, network.output)
    planner = space.planner(params.sample.criterion, model=ranked, data=rated_by)
    generations = generations_of(space, params.sample, read_measured(artifacts, params.sample.sampler))
    plans = GrowingPlans(widths, planner, generations)
    journal = journal_folder(params, artifacts)
    scorer = chosen_scorer(params, network, dataset)
    options = ScoreOptions(
        training=_training(dataset, params, scorer),
        batch_size=params.score.batch_size,
        output=network.output,
        stop_margin=params.score.stop_margin,
        prior=params.score.prior,
        reward=params.score.reward,
        latency=latency_model(space, params.sample) if params.score.reward and params.score.reward.latency else None,
        workers=params.runtime.workers,
        threads=threads,
        cluster=params.runtime.cluster,
        journal=journal / "journal",
        progress=progress,
    )
    table = _race(params, dataset, space, plans, scorer=scorer, calibration=calibration, options=options)
    candidates = _with_later_generations(candidates, space, plans, generations.budget)
    table, passed_over = keep_latency(table, plans.widths, generations.budget, params.sample.budget)
    _write(folder, plans, candidates, table)
    _write_diagnostics(folder, space, plans, table, budget=generations.budget, passed_over=passed_over)
    shutil.rmtree(journal, ignore_errors=True)
    return {**_metrics(candidates, table), **criterion_metrics(params.sample.criterion, rated_by)}


def _race(
    params: PipelineParams,
    dataset: Dataset,
    space: SearchSpace,
    plans: GrowingPlans,
    *,
    scorer: Scorer,
    calibration: Tensor,
    options: ScoreOptions,
) -> ScoreTable:
    score = params.score
    return eyas.score(
        space.model,
        space,
        plans,
        calibration,
        _images(dataset, "score", score.score_images),
        _labels(dataset, score.score_images),
        rungs=score.rungs,
        device=stage.device(params.runtime),
        seed=score.seed,
        calibrator=score.calibrator,
        scorer=scorer,
        options=options,
    )


def journal_folder(params: PipelineParams, artifacts: Path) -> Path:
    """Where this very race keeps its journal: outside of the stage's outputs, one folder per stage key."""
    settings = [params.score.model_dump(mode="json"), params.sample.model_dump(mode="json")]
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name in INPUTS:
        with (artifacts / name).open("rb") as file:
            key.update(hashlib.file_digest(file, "sha256").digest())
    return Path(params.runtime.state) / "scoring" / key.hexdigest()[:16]


def _images(dataset: Dataset, name: str, limit: int) -> Tensor:
    """The first images of a split (a fixed random subset), normalised."""
    return dataset.normalise(dataset.split(name).images(limit=limit))


def _labels(dataset: Dataset, limit: int) -> Tensor | None:
    """Of the same images of the score split; None where there are none."""
    return dataset.split("score").first_labels(limit) if dataset.task.labelled else None


def chosen_scorer(params: PipelineParams, network: Network, dataset: Dataset) -> Scorer:
    """``score.scorer``, or what ranks the candidates of this network best."""
    if params.score.scorer is not None:
        return params.score.scorer
    examples, labels = _images(dataset, "score", EXAMPLES), _labels(dataset, EXAMPLES)
    return search_scorer(network.model.eval(), examples, labels, network.output)


def _training(dataset: Dataset, params: PipelineParams, scorer: Scorer) -> tuple[Tensor, Tensor | None] | None:
    """As many images of the train split as a rung's steps take, and their labels where labels decide; else None."""
    count = max(rung.training_images for rung in params.score.rungs)
    labels = dataset.split("train").first_labels(count) if scorer.needs_labels else None
    return (_images(dataset, "train", count), labels) if count else None


def _widths(candidates: pa.Table, space: SearchSpace) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The width matrix, in the order of the space's groups; each row costs what is written beside it."""
    widths = np.array(candidates["widths"].to_pylist(), np.int64)
    if widths.ndim != 2 or widths.shape[1] != len(space.groups):
        msg = f"candidates have widths of shape {widths.shape} for {len(space.groups)} groups: run sample again"
        raise DataError(msg)
    require_costs(space, widths, {name: candidates[name].to_numpy() for name in COSTS}, SAMPLED)
    return widths


def _with_later_generations(candidates: pa.Table, space: SearchSpace, plans: GrowingPlans, budget: Budget) -> pa.Table:
    """The table of ``sample``, and below it the candidates that were asked for while the race ran."""
    first = len(candidates)
    if first == len(plans):
        return candidates
    later = candidate_table(space, budget, plans.widths[first:], first).select(candidates.column_names)
    return pa.concat_tables([candidates, later.cast(candidates.schema)])


def _write(folder: Path, plans: GrowingPlans, candidates: pa.Table, table: ScoreTable) -> None:
    """The ranked candidates, the winner's plan and that of uniform widths."""
    columns = {name: candidates[name] for name in candidates.column_names}
    pq.write_table(pa.table(columns | table.columns()), folder / "candidates.parquet")
    (folder / "plan.json").write_text(plans[table.winner].to_json())
    write_uniform_plan(folder.parent, plans.uniform_plan())
    names = ("macs", "score", "standard_error", "accuracy", "images", "rung", "rank")
    shown = {**table.columns(), "macs": np.array(candidates["macs"])}
    rows = zip(range(len(table)), *(shown[name] for name in names), strict=True)
    _write_csv(folder / "scores.csv", ("candidate", *names), rows)


def _on_limits(budget: Budget, costs: Sequence[float], winner: int, passed_over: Sequence[int]) -> Iterator[str]:
    """How the winner, which costs so much by limit, keeps the limits where ``MACs`` alone do not tell."""
    if needs_words(budget):
        yield budget.in_words(costs)
    if passed_over:
        yield (
            f"candidate {winner} is taken, and better ones are not ({', '.join(map(str, passed_over))}): measured "
            "end to end, they take over 10 % longer than `budget` allows"
        )


def _write_diagnostics(
    folder: Path,
    space: SearchSpace,
    plans: GrowingPlans,
    table: ScoreTable,
    *,
    budget: Budget,
    passed_over: Sequence[int],
) -> None:
    """The winner's widths; what the race says of itself, in numbers and in words, which the log gets, too."""
    kept = plans.widths[table.winner]
    groups = [(group.name, group.channels, int(width)) for group, width in zip(space.groups, kept, strict=True)]
    _write_csv(folder / "widths.csv", ("group", "dense", "kept"), groups)
    share = space.cost(kept).macs / space.cost().macs
    lines = diagnose(table, macs_share=share, uniform_in_band=len(plans.propose.uniform()) > 0)
    costs = budget.costs_by_limit(space, kept[None])[:, 0].tolist()
    further = _on_limits(budget, costs, table.winner, passed_over)
    diagnosis = [stage.name_fields(line, FIELDS) for line in (*lines, *further)]
    for line in diagnosis:
        _log.info(line)
    report = {**table.diagnostics, "settings": table.settings, "warnings": list(table.warnings), "diagnosis": diagnosis}
    if needs_words(budget):
        report["binding"] = budget.binding(space, kept[None])[0]
    stage.write_json(folder / "diagnostics.json", _plain(report))


def _write_csv(path: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _plain(value: Any) -> Any:
    """The same as strict JSON: what is not finite becomes null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _metrics(candidates: pa.Table, table: ScoreTable) -> stage.Metrics:
    """The winner's row and what the race says of itself; only finite numbers."""
    winner = table.winner
    numbers: dict[str, float | int] = {"candidates": len(table), "winner": winner}
    for name in ("score", "standard_error", "accuracy", "cross_entropy"):
        numbers[f"winner_{name}"] = float(getattr(table, name)[winner])
    for name in (*COSTS, *(name for name in ("file_bytes", "latency_ms") if name in candidates.column_names)):
        numbers[f"winner_{name}"] = candidates[name][winner].as_py()
    for name in ("score_spread", "median_standard_error", "paired_error", "tied_share", "at_chance"):
        if name in table.diagnostics:
            numbers[name] = float(table.diagnostics[name])
    numbers["warnings"] = len(table.warnings)
    if "images_forwarded" in table.diagnostics:
        numbers["images_forwarded"] = sum(table.diagnostics["images_forwarded"])
    for part in ("probe", "uniform"):
        for name, value in table.diagnostics.get(part, {}).items():
            numbers[f"{part}_{name}"] = value
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


if __name__ == "__main__":
    stage.main("score", score, FIELDS)
