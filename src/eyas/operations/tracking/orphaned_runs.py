"""Runs whose process was killed before it could say how they ended."""

from eyas.operations.tracking.mlflow_store import MlflowStore, retry
from eyas.operations.tracking.runs import drop_tag, fail_run
from eyas.operations.tracking.stage_runs import running_stages

WORKSPACE = "eyas.workspace"
"""Tag of a run that goes on: a hash that tells its workspace from every other."""


def end_orphaned_runs(store: MlflowStore, workspace: str, successor: str) -> list[str]:
    """End every run of a workspace that is still running, and their stages' runs; returns the ids of the former.

    A workspace runs one pipeline at a time, so that whoever holds its lock knows that the others are gone.

    Args:
        store: an opened store.
        workspace: value of the runs' tag ``eyas.workspace``.
        successor: the run that goes on.
    """
    orphaned = [run for run in _running(store, WORKSPACE, workspace) if run != successor]
    message = f"was cut off (killed, out of memory, or its machine was lost); the run that followed is {successor}"
    for run in orphaned:
        end_stages(store, run, message, killed=True)
        fail_run(store, run, message, killed=True)
        drop_tag(store, run, WORKSPACE)
    return orphaned


def end_stages(store: MlflowStore, parent_id: str, message: str, *, killed: bool) -> None:
    """End the runs of stages that were still at work when their pipeline run ended."""
    for run in running_stages(store, parent_id):
        fail_run(store, run, message, killed=killed)


def _running(store: MlflowStore, tag: str, value: str) -> list[str]:
    query = f"tags.`{tag}` = '{value}' and attributes.status = 'RUNNING'"
    return [str(run.info.run_id) for run in retry(store.client.search_runs, [store.experiment_id], query)]
