"""Recording in MLflow what the flow drives: the parent run, each stage from its files, the way it ended."""

import getpass
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from eyas.config import PipelineParams
from eyas.config.changed_params import changed_params
from eyas.data.comparability import read_comparability
from eyas.operations import tracking
from eyas.operations.lineage import git_state, params_digest
from eyas.operations.report import LATENCY, Results, verdict_on
from eyas.operations.report.headline import headline_metrics, result_markdown
from eyas.operations.run_name import run_name
from eyas.operations.tracking.live_stage import LiveStage
from eyas.operations.tracking.orphaned_runs import WORKSPACE, end_orphaned_runs, end_stages
from tasks.dvc_cli import StageError, StageResult
from tasks.profile_name import profile_title
from tasks.tracking_store import open_store
from tasks.workspace import Workspace

log = logging.getLogger(__name__)

_WITH_ACCURACIES = ("baseline", "score", "finetune", "export")
"""Stages whose numbers compare as far as the test images let them."""


def start_run(workspace: Workspace) -> str:
    """Open the parent run of a pipeline run and return its id; call it inside the workspace's lock.

    Runs of the same workspace that are still open were cut off: they are ended, with a reason.
    """
    commit, dirty = git_state(workspace.root)
    tags = {
        "eyas.kind": "pipeline",
        "eyas.profile": workspace.name,
        "eyas.model": workspace.params.register_.model,
        "eyas.command": workspace.command,
        "eyas.git_commit": commit or "unknown",
        "eyas.git_dirty": str(dirty).lower() if commit else "unknown",
        WORKSPACE: workspace.identity(),
        "mlflow.source.name": workspace.command,
        "mlflow.source.type": "LOCAL",
        "mlflow.user": getpass.getuser(),
    }
    if commit:
        tags["mlflow.source.git.commit"] = commit
    else:
        log.warning("no git repository here and no EYAS_COMMIT: no one will know which code made this run")
    store, params = open_store(workspace), workspace.all_params
    name = name_of(workspace)
    run_id = tracking.start_pipeline(store, name, params=shown_params(workspace.params), settings=params, tags=tags)
    tracking.add_lineage(store, run_id, {"workspace": tags[WORKSPACE], "params_digest": params_digest(params)})
    for orphaned in end_orphaned_runs(store, workspace.identity(), run_id):
        log.warning("MLflow run %s had been cut off: it is ended", orphaned)
    return run_id


def name_of(workspace: Workspace) -> str:
    """What a run of the workspace is called, on MLflow's pages and on Prefect's."""
    params = workspace.params
    spelt = profile_title(workspace.name, workspace.arguments, short=False)
    return run_name(spelt, params.register_.model, params.sample.budget.limits)


def shown_params(params: PipelineParams) -> dict[str, Any]:
    """What is not a default, and what everyone asks for."""
    budget = {f"sample.budget.{metric}": value for metric, value in params.sample.budget.limits.items()}
    always = {"fetch.train": params.fetch.train, "baseline.architecture": params.baseline.architecture}
    changed = changed_params(params)
    changed.pop("register.model", None)  # a tag says it
    return {**always, **budget, **changed}


@task(task_run_name="record {result.stage}", cache_policy=NO_CACHE, persist_result=False, retries=2)
def record_stage(run_id: str, workspace: Workspace, result: StageResult, seconds: float = 0.0) -> str:
    """Record a stage from its files, or link the run that made them; returns that run's id."""
    params = workspace.all_params
    record = tracking.StageRecord(
        name=result.stage,
        key=result.key,
        folder=workspace.artifacts / result.stage,
        skipped=result.skipped,
        params=params.get(result.stage, {}),
        seconds=seconds,
    )
    store = open_store(workspace)
    stage_run = tracking.record_stage(store, run_id, record)
    if result.stage in _WITH_ACCURACIES:
        tags = read_comparability(workspace.artifacts / "baseline").tags()
        for run in (run_id, stage_run):
            tracking.tag_run(store, run, tags)
    return stage_run


def finish_run(run_id: str, workspace: Workspace) -> None:
    """Close the parent run as finished."""
    store = open_store(workspace)
    tracking.finish_run(store, run_id)
    tracking.drop_tag(store, run_id, WORKSPACE)


def fail_run(run_id: str, workspace: Workspace, error: BaseException) -> None:
    """Close the parent run as failed, or as killed from outside, and with it the run of the stage that was at work."""
    store, tail = open_store(workspace), ""
    message, killed = str(error) or type(error).__name__, not isinstance(error, Exception)
    if isinstance(error, StageError):
        tail = error.tail
        tracking.fail_stage(store, run_id, error.stage, message, tail)
    end_stages(store, run_id, message, killed=killed)
    tracking.fail_run(store, run_id, message, tail, killed=killed)
    tracking.drop_tag(store, run_id, WORKSPACE)


@contextmanager
def progress_of(run_id: str, workspace: Workspace, stage: str) -> Iterator[Callable[[int, int], None]]:
    """Takes (done, total) to the stage's run, until the store takes it no more."""
    live = LiveStage(open_store(workspace), run_id, stage)
    try:
        yield live.tell
    finally:
        live.close()


def log_report(run_id: str, workspace: Workspace, folder: Path) -> None:
    """Upload the report, its pictures and what was measured for it to the parent run."""
    tracking.log_report(open_store(workspace), run_id, folder, workspace.artifacts / LATENCY)


def log_result(run_id: str, workspace: Workspace, results: Results) -> None:
    """What the result is worth, as tags, the metrics that count and the description of the parent run."""
    metrics, words = headline_metrics(results), result_markdown(results, workspace.all_params)
    tracking.log_result(open_store(workspace), run_id, verdict_on(results), description=words, metrics=metrics)
