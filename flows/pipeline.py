"""The pipeline: every stage of ``dvc.yaml`` in order, each recorded in MLflow; then the report and the registry."""

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prefect import get_run_logger

from eyas.cli.interruption import uninterrupted
from eyas.cli.run_view import step
from eyas.operations.tracking import attempt
from flows.environment import ROOT
from flows.flow_decorator import eyas_flow
from flows.orphaned_flow_runs import end_orphaned_flow_run
from tasks.dvc_cli import stage_names
from tasks.fingerprint import code_files
from tasks.measure_budget import measure_budget
from tasks.measure_latency import measure_latency
from tasks.named_inputs import write_inputs
from tasks.record import fail_run, finish_run, record_stage, start_run
from tasks.register import candidate, candidate_name, moved_from, register_candidate
from tasks.registry_source import bring_checkpoint
from tasks.report import rebuild_report
from tasks.run_stage import run_stage
from tasks.workspace import Workspace, open_workspace


@dataclass(frozen=True)
class Outcome:
    """What a run of the pipeline left."""

    workspace: str
    folder: str
    run_id: str
    version: str | None
    skipped: tuple[str, ...]


@eyas_flow
def pipeline(
    params_file: str = "params.yaml",
    overrides: Sequence[str] = (),
    name: str | None = None,
    *,
    wait: bool = False,
    register: bool = True,
) -> Outcome:
    """Bring a profile's six stages up to date, record them, rebuild the report, register the model.

    Args:
        params_file: relative to the checkout, or absolute.
        overrides: ``section.field=value`` each.
        name: of the workspace; see ``tasks.workspace``.
        wait: wait for another run of the same profile instead of refusing.
        register: create the model version (alias ``candidate``, or one of its own for another budget).

    Raises:
        ParameterError, BusyError: before any work.
        StageError: a stage failed; the next run continues from it.
    """
    workspace = open_workspace(ROOT, Path(ROOT, params_file), overrides, name=name)
    with workspace.locked(wait=wait):
        end_orphaned_flow_run(workspace)
        return run_stages(workspace, register=register)


def run_stages(workspace: Workspace, *, register: bool = True, again: Collection[str] = ()) -> Outcome:
    """The body of the flow, inside the workspace's lock.

    The stages named in ``again`` run even where DVC sees no change.
    """
    logger = get_run_logger()
    skipped: list[str] = []
    code = code_files(workspace)
    with recorded_run(workspace) as run_id:
        write_inputs(workspace, bring_checkpoint(workspace))
        for stage in stage_names(workspace.folder):
            run = run_stage.with_options(retries=workspace.params.runtime.retries)
            start = time.monotonic()
            result = run(stage, workspace, force=stage in again, run_id=run_id)
            with uninterrupted():
                record_stage(run_id, workspace, result, time.monotonic() - start)
            if result.skipped:
                skipped.append(stage)
        measure_latency(workspace)
        measure_budget(workspace)
        rebuild_report(run_id, workspace)
        version = registered(run_id, workspace, code) if register else None
    if len(skipped) == len(stage_names(workspace.folder)):
        logger.info("nothing had changed: every stage was up to date")
    return Outcome(workspace.name, str(workspace.folder), run_id, version, tuple(skipped))


def registered(run_id: str, workspace: Workspace, code: dict[str, str]) -> str:
    """The number of the candidate that the run made."""
    with step("register") as shown:
        before = candidate(workspace)
        version = register_candidate(run_id, workspace, code)
        tried = " (only tried? --no-register makes none)" if "--set" in workspace.arguments else ""
        alias = f"alias '{candidate_name(workspace)}'{moved_from(before, version)}"
        shown.note = f"{workspace.params.register_.model} version {version}, {alias}{tried}"
    return version


@contextmanager
def recorded_run(workspace: Workspace) -> Iterator[str]:
    """MLflow's parent run: finished, killed, or failed with the stage's own message and the end of its log."""
    run_id = ""
    try:
        with uninterrupted():
            run_id = start_run(workspace)
        yield run_id
    except BaseException as error:
        if run_id:
            with attempt("recording the failure"), uninterrupted(closing=True):
                fail_run(run_id, workspace, error)
        raise
    with uninterrupted():
        finish_run(run_id, workspace)
