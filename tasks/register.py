"""Registering the exported network: an MLflow model version with alias ``candidate``; outside state, no stage."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from eyas.config import PipelineParams
from eyas.networks.architecture_record import read_record
from eyas.operations.lineage import Lineage, trace_lineage
from eyas.operations.report import LATENCY
from eyas.operations.tracking import MlflowStore, Version, register_version
from tasks.dvc_cli import stage_keys
from tasks.fingerprint import recorded_fingerprint
from tasks.record import open_store
from tasks.workspace import Workspace


@task(task_run_name="register", cache_policy=NO_CACHE, persist_result=False, retries=2)
def register_candidate(run_id: str, workspace: Workspace, code: str) -> str:
    """Enter what ``export`` left into the registry and return the version's number.

    Equal files from equal stage keys are found again: nothing new is made then. The fingerprint is that of what the
    stages were made of, whatever the sources hold by now.

    Args:
        run_id: MLflow's parent run.
        workspace: whose stages are up to date.
        code: digest of the stages' code before the first of them ran.
    """
    lineage = workspace_lineage(run_id, workspace)
    made, artifacts = (workspace.folder / "dvc.lock", workspace.folder / "dvc.yaml"), workspace.artifacts
    extra = (*made, artifacts / "report" / "report.md", artifacts / LATENCY)
    tags = recorded_fingerprint(workspace, code).tags()
    version = register(
        open_store(workspace), workspace.params, workspace.artifacts, lineage, tags=tags, extra_files=extra
    )
    get_run_logger().info("%s has alias 'candidate'", version)
    return version.number


def register(
    store: MlflowStore,
    params: PipelineParams,
    artifacts: Path,
    lineage: Lineage,
    *,
    tags: Mapping[str, str] | None = None,
    extra_files: Sequence[Path] = (),
) -> Version:
    """Enter ``artifacts/export`` as a version of ``register.model``; see :func:`register_version`."""
    return register_version(
        store,
        params.register_.model,
        artifacts / "export",
        lineage,
        shape=read_record(artifacts / "baseline").input_shape,
        metrics=stage_metrics(artifacts),
        tags=tags,
        extra_files=extra_files,
    )


def workspace_lineage(run_id: str, workspace: Workspace) -> Lineage:
    """Where the workspace's network came from."""
    return trace_lineage(
        workspace.root,
        workspace.artifacts,
        run_id=run_id,
        stage_keys=stage_keys(workspace.folder),
        params=workspace.all_params,
        profile=workspace.name,
        command=workspace.command,
    )


def stage_metrics(artifacts: Path) -> dict[str, float]:
    """Every stage's ``metrics.json`` as ``<stage>.<name>``."""
    metrics: dict[str, float] = {}
    for path in sorted(artifacts.glob("*/metrics.json")):
        numbers = json.loads(path.read_text())
        metrics |= {f"{path.parent.name}.{name}": value for name, value in numbers.items()}
    return metrics
