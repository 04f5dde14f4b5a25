"""Recording in MLflow what the flow drives: the parent run, each stage from its files, the way it ended."""

import logging
from collections.abc import Callable
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from eyas.config import PipelineParams
from eyas.data.comparability import read_comparability
from eyas.errors import EyasError
from eyas.operations import tracking
from eyas.operations.lineage import git_state, params_digest
from eyas.operations.report import LATENCY
from eyas.operations.tracking.orphaned_runs import WORKSPACE, end_orphaned_runs
from eyas.operations.verdict import Verdict
from tasks.dvc_cli import StageError, StageResult
from tasks.stage import name_fields
from tasks.workspace import Workspace

log = logging.getLogger(__name__)

_WITH_ACCURACIES = ("baseline", "score", "finetune", "export")
"""Stages whose numbers compare as far as the test images let them."""


def open_store(workspace: Workspace) -> tracking.MlflowStore:
    """The MLflow store that the workspace's parameters or the environment name."""
    return open_store_of(workspace.params, workspace.root)


def open_store_of(params: PipelineParams, root: Path) -> tracking.MlflowStore:
    """:func:`open_store` of parameters that are no workspace's; ``root`` is the checkout."""
    try:
        return tracking.open_store(root, uri=params.runtime.tracking_uri, experiment=params.runtime.experiment)
    except EyasError as error:
        raise type(error)(name_fields(str(error), {"uri": "runtime.tracking_uri"})) from None


def start_run(workspace: Workspace) -> str:
    """Open the parent run of a pipeline run and return its id; call it inside the workspace's lock.

    Runs of the same workspace that are still open were cut off: they are ended, with a reason.
    """
    commit, dirty = git_state(workspace.root)
    params = workspace.all_params
    tags = {
        "eyas.kind": "pipeline",
        "eyas.profile": workspace.name,
        "eyas.model": workspace.params.register_.model,
        WORKSPACE: workspace.identity(),
        "eyas.params_digest": params_digest(params),
        "eyas.command": workspace.command,
        "eyas.git_commit": commit or "unknown",
        "eyas.git_dirty": str(dirty).lower() if commit else "unknown",
    }
    if commit:
        tags["mlflow.source.git.commit"] = commit
    else:
        log.warning("no git repository here and no EYAS_COMMIT: no one will know which code made this run")
    store = open_store(workspace)
    run_id = tracking.start_pipeline(store, workspace.name, params=params, tags=tags)
    for orphaned in end_orphaned_runs(store, workspace.identity(), run_id):
        log.warning("MLflow run %s had been cut off: it is ended", orphaned)
    return run_id


@task(task_run_name="record-{result.stage}", cache_policy=NO_CACHE, persist_result=False, retries=2)
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
    tracking.finish_run(open_store(workspace), run_id)


def fail_run(run_id: str, workspace: Workspace, error: BaseException) -> None:
    """Close the parent run as failed, or as killed from outside, and with it the run of the stage if one failed."""
    store, tail = open_store(workspace), ""
    message = str(error) or type(error).__name__
    if isinstance(error, StageError):
        tail = error.tail
        tracking.fail_stage(store, run_id, error.stage, message, tail)
    tracking.fail_run(store, run_id, message, tail, killed=not isinstance(error, Exception))


def progress_of(run_id: str, workspace: Workspace, stage: str) -> Callable[[int, int], None]:
    """Takes (done, total) to the parent run, until the store takes it no more."""
    store, taken = open_store(workspace), [True]

    def tell(done: int, total: int) -> None:
        taken[0] = taken[0] and tracking.log_progress(store, run_id, stage, done, total)

    return tell


def log_report(run_id: str, workspace: Workspace, folder: Path) -> None:
    """Upload the report, its pictures and what was measured for it to the parent run."""
    tracking.log_report(open_store(workspace), run_id, folder, workspace.artifacts / LATENCY)


def log_verdict(run_id: str, workspace: Workspace, verdict: Verdict) -> None:
    """What the result is worth, as tags, numbers and the description of the parent run."""
    tracking.log_verdict(open_store(workspace), run_id, verdict)
