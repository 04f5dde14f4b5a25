"""Runs whose process was killed before it could say how they ended."""

from eyas.operations.tracking.mlflow_store import MlflowStore, retry
from eyas.operations.tracking.runs import PARENT

WORKSPACE = "eyas.workspace"


def end_orphaned_runs(store: MlflowStore, workspace: str, successor: str) -> list[str]:
    """End every run of a workspace that is still running, and their stages' runs; returns the ids.

    A workspace runs one pipeline at a time, so that whoever holds its lock knows that the others are gone.

    Args:
        store: an opened store.
        workspace: value of the runs' tag ``eyas.workspace``.
        successor: the run that goes on.
    """
    orphaned = [run for run in _running(store, WORKSPACE, workspace) if run != successor]
    orphaned += [child for run in orphaned for child in _running(store, PARENT, run)]
    message = f"was cut off (killed, out of memory, or its machine was lost); the run that followed is {successor}"
    for run in orphaned:
        for tag in ("eyas.error", "mlflow.note.content"):
            retry(store.client.set_tag, run, tag, message)
        retry(store.client.set_terminated, run, status="KILLED")
    return orphaned


def _running(store: MlflowStore, tag: str, value: str) -> list[str]:
    query = f"tags.`{tag}` = '{value}' and attributes.status = 'RUNNING'"
    return [str(run.info.run_id) for run in retry(store.client.search_runs, [store.experiment_id], query)]
