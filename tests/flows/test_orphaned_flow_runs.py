"""What a killed run left running in Prefect is ended by the run that follows; nobody else's is."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect import flow, task
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.states import Completed, Pending, Running

from flows import orphaned_flow_runs
from flows.orphaned_flow_runs import CUT_OFF, end_orphaned_flow_run
from tasks.workspace import Workspace


@flow(name="eyas-orphans")
def work() -> None:
    """Stands for a flow."""


@task(name="eyas-orphans-task")
def part() -> None:
    """Stands for a stage."""


@pytest.fixture
def begin(make_workspace: Callable[..., Workspace], monkeypatch: pytest.MonkeyPatch) -> Callable[[UUID], None]:
    """A run with this id takes the workspace over."""
    workspace = make_workspace()
    workspace.state.mkdir(parents=True, exist_ok=True)

    def call(run_id: UUID) -> None:
        context = SimpleNamespace(flow_run=SimpleNamespace(id=run_id))
        monkeypatch.setattr(orphaned_flow_runs, "FlowRunContext", SimpleNamespace(get=lambda: context))
        end_orphaned_flow_run(workspace)

    return call


def state_of(client: SyncPrefectClient, run_id: UUID) -> tuple[str, str | None]:
    state: Any = client.read_flow_run(run_id).state
    return state.name, state.message


@pytest.mark.usefixtures("prefect_server")
def test_the_run_before_and_its_tasks_are_ended(begin: Callable[[UUID], None]) -> None:
    with get_client(sync_client=True) as client:
        killed, other, mine = (client.create_flow_run(work, state=Running()).id for _ in range(3))
        stage = client.create_task_run(part, killed, dynamic_key="0", state=Running()).id
        done = client.create_task_run(part, killed, dynamic_key="1", state=Completed()).id
        begin(killed)
        begin(mine)
        assert state_of(client, killed) == ("Crashed", CUT_OFF)
        assert client.read_task_run(stage).state_name == "Crashed"
        assert client.read_task_run(done).state_name == "Completed"
        assert state_of(client, other)[0] == state_of(client, mine)[0] == "Running"


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("state", [Completed(message="well"), Pending()], ids=["ended", "never began"])
def test_an_ending_stays_as_it_was(begin: Callable[[UUID], None], state: Any) -> None:
    with get_client(sync_client=True) as client:
        before, mine = (client.create_flow_run(work, state=one).id for one in (state, Running()))
        begin(before)
        begin(mine)
        assert state_of(client, before)[0] == ("Completed" if state.is_completed() else "Crashed")


@pytest.mark.usefixtures("prefect_server")
def test_a_run_of_another_server_is_none_of_ours(begin: Callable[[UUID], None]) -> None:
    with get_client(sync_client=True) as client:
        mine, next_one = (client.create_flow_run(work, state=Running()).id for _ in range(2))
        begin(uuid4())
        begin(mine)
        begin(next_one)
        assert state_of(client, mine)[0] == "Crashed"


def test_outside_of_a_flow_nothing_is_asked(make_workspace: Callable[..., Workspace]) -> None:
    workspace = make_workspace()
    end_orphaned_flow_run(workspace)
    assert not (workspace.state / "flow_run").exists()
