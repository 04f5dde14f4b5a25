"""Flow runs that Prefect still takes for running although their process, or the server itself, was killed."""

from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

from tasks.workspace import Workspace

CUT_OFF = "was cut off: killed, out of memory, or its server or machine was lost"


def end_orphaned_flow_run(workspace: Workspace) -> None:
    """End in Prefect the run that had this workspace before, if nobody did, and remember the present one.

    Call it inside the workspace's lock: whoever holds it knows that the run before is gone.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    path = workspace.state / "flow_run"
    if path.exists():
        _end(path.read_text())
    path.write_text(str(context.flow_run.id))


def _end(flow_run_id: str) -> None:
    with get_client(sync_client=True) as client:
        try:
            run = client.read_flow_run(UUID(flow_run_id))
        except (ValueError, ObjectNotFound):  # cut short while it was written, or of another server
            return
        if run.state is not None and run.state.is_final():
            return
        for task in client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))):
            if task.state is None or not task.state.is_final():
                client.set_task_run_state(task.id, Crashed(message=CUT_OFF), force=True)
        client.set_flow_run_state(run.id, Crashed(message=CUT_OFF), force=True)
