"""Registering the exported network: an MLflow model version with the alias of a candidate; outside state, no stage."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from eyas.config import PipelineParams
from eyas.data.comparability import read_comparability
from eyas.errors import ChecksumError
from eyas.networks.architecture_record import read_record
from eyas.operations.fingerprint import Code, changed_files, code_digest
from eyas.operations.lineage import Lineage, trace_lineage
from eyas.operations.report import LATENCY, read_results, verdict_on
from eyas.operations.report.headline import headline_metrics, result_markdown
from eyas.operations.tracking import MlflowStore, Version, register_version
from eyas.operations.tracking.adaptation_run import parent_of
from eyas.operations.tracking.candidate_alias import CandidateAlias
from eyas.operations.tracking.runs import REPORT_PAGES, verdict_tags
from tasks.dvc_cli import stage_keys
from tasks.dvc_lock import require_as_made
from tasks.fingerprint import code_files, recorded_fingerprint
from tasks.named_inputs import INPUTS, plugins
from tasks.registry_source import made_from
from tasks.run_stage import worth_retrying
from tasks.search_space import SPACE
from tasks.stage_metrics import stage_metrics
from tasks.tracking_store import candidate_alias, open_store
from tasks.users_code import PYTHON_PATH, folders_of_code
from tasks.workspace import Workspace


@task(
    task_run_name="register", cache_policy=NO_CACHE, persist_result=False, retries=2, retry_condition_fn=worth_retrying
)
def register_candidate(run_id: str, workspace: Workspace, code: Code) -> str:
    """Enter what ``export`` left into the registry and return the version's number.

    Equal files from equal stage keys are found again: nothing new is made then. The fingerprint is that of what the
    stages were made of, whatever the sources hold by now.

    Args:
        run_id: MLflow's parent run.
        workspace: whose stages are up to date.
        code: files of the stages' code before the first of them ran.

    Raises:
        ChecksumError: a file is not what its stage wrote, or code changed while the stages ran.
    """
    require_same_code(code, code_files(workspace))
    require_as_made(workspace.folder)
    lineage = workspace_lineage(run_id, workspace, code)
    beside = [workspace.folder / name for name in ("dvc.lock", "dvc.yaml", INPUTS)]
    extra = (*beside, *(workspace.artifacts / name for name in (SPACE, LATENCY, *REPORT_PAGES)))
    tags = recorded_fingerprint(workspace, code_digest(code)).tags() | made_from(workspace)
    tags[PYTHON_PATH] = folders_of_code(workspace, code)
    results = read_results(workspace.artifacts)
    version = register(
        open_store(workspace),
        workspace.params,
        workspace.artifacts,
        lineage,
        headline=headline_metrics(results),
        alias=candidate_alias(workspace),
        tags={**tags, **verdict_tags(verdict_on(results))},
        description=result_markdown(results, workspace.all_params),
        extra_files=extra,
    )
    get_run_logger().info("%s has alias '%s'", version, candidate_name(workspace))
    return version.number


def register(
    store: MlflowStore,
    params: PipelineParams,
    artifacts: Path,
    lineage: Lineage,
    *,
    headline: Mapping[str, float] | None = None,
    alias: CandidateAlias | None = None,
    tags: Mapping[str, str] | None = None,
    description: str = "",
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
        headline=headline,
        tags={**(tags or {}), **read_comparability(artifacts / "baseline").tags()},
        description=description,
        extra_files=extra_files,
        alias=alias,
    )


def candidate_name(workspace: Workspace) -> str:
    """The alias that this profile's version has."""
    return candidate_alias(workspace).name_in(open_store(workspace), workspace.params.register_.model)


def candidate(workspace: Workspace) -> Version | None:
    """The version that has it now, if one has."""
    return candidate_alias(workspace).version_in(open_store(workspace), workspace.params.register_.model)


def moved_from(before: Version | None, number: str) -> str:
    """What became of an alias that names version ``number`` now, in words; nothing where it is new."""
    if before is None or before.number == number:
        return "" if before is None else " as before"
    parent = parent_of(before)
    adapted = f", which was adapted from version {parent[1]}" if parent else ""
    return f", moved from version {before.number}{adapted}"


def require_same_code(before: Code, after: Code) -> None:
    """Stages that ran on different code make no version: nothing would say what it was made of.

    Raises:
        ChecksumError: it changed meanwhile.
    """
    changes = changed_files(after, before)
    if changes:
        msg = f"code changed while the stages ran ({', '.join(changes)}): nothing was registered; run again"
        raise ChecksumError(msg)


def workspace_lineage(run_id: str, workspace: Workspace, code: Code | None = None) -> Lineage:
    """Where the workspace's network came from."""
    return trace_lineage(
        workspace.root,
        workspace.artifacts,
        run_id=run_id,
        stage_keys=stage_keys(workspace.folder),
        params=workspace.all_params,
        code=code,
        profile=workspace.name,
        command=workspace.command,
        plugins="; ".join(sorted(set(plugins(workspace.params)))),
    )
