"""Of several scheduled runs that are due only the newest runs; people are told once; nobody else is dropped.

The runs are real ones of a Prefect server, made by its own scheduler.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.flow_engine import run_flow
from prefect.states import Cancelled, Completed, Late, Pending, Running, Scheduled, State

from eyas.config import NotifyParams
from eyas.errors import BusyError
from flows import retrain as module
from flows import schedule_guard
from flows.retrain import Decision, hold, retrain
from tasks.workspace import Workspace
from tests.flows.conftest import Notices

MINUTE = timedelta(minutes=1)
DONE = Decision(True, "changed", (), None, "1")


@pytest.fixture
def client(prefect_server: None) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def due(client: SyncPrefectClient) -> Callable[..., list[FlowRun]]:
    """Runs of a new deployment, made by its schedule: one every ten minutes, the first one so many minutes ago."""

    def make(first: float) -> list[FlowRun]:
        now = datetime.now(UTC)
        start = now - first * MINUTE
        schedule = IntervalSchedule(interval=10 * MINUTE, anchor_date=start)
        schedules = [DeploymentScheduleCreate(schedule=schedule, active=True)]
        deployment = client.create_deployment(client.create_flow(retrain), f"d-{uuid4()}", schedules=schedules)
        window = {"start_time": (start - MINUTE).isoformat(), "end_time": now.isoformat()}
        client._client.post(f"/deployments/{deployment}/schedule", json=window).raise_for_status()
        runs = [
            run
            for run in client.read_flow_runs()
            if run.deployment_id == deployment and schedule_guard._time(run) < now
        ]
        return sorted(runs, key=schedule_guard._time)

    return make


@pytest.fixture
def started(
    client: SyncPrefectClient,
    make_workspace: Callable[..., Workspace],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., State[Any]]:
    """Start a run as a worker does, the stages left out; its end state."""
    monkeypatch.setattr(module, "decide_and_run", lambda *_, **__: DONE)

    def start(run: FlowRun, schedule: dict[str, Any] | None = None, **parameters: Any) -> State[Any]:
        workspace = make_workspace(schedule=schedule or {})
        monkeypatch.setattr(module, "open_workspace", lambda *_, **__: workspace)
        client.set_flow_run_state(run.id, Pending(), force=True)
        parameters = {"params_file": "params.yaml", **parameters}
        run_flow(retrain, flow_run=client.read_flow_run(run.id), parameters=parameters, return_type="state")
        state = client.read_flow_run(run.id).state
        assert state is not None
        return state

    return start


def test_of_several_due_runs_the_newest_runs_and_tells_once_for_the_lot(
    due: Callable[..., list[FlowRun]], started: Callable[..., State[Any]], notices: Notices
) -> None:
    runs = due(35)
    ends = [started(run) for run in runs]
    assert [state.name for state in ends] == ["Skipped", "Skipped", "Skipped", "Completed"]
    assert all(state.is_completed() for state in ends)
    assert "stands for it" in str(ends[0].message)
    assert [notice["event"] for notice in notices] == ["late"]
    assert "stands for 3 earlier ones" in notices[0]["message"]


def test_missed_runs_do_not_pile_up_within_the_grace_either(
    due: Callable[..., list[FlowRun]], started: Callable[..., State[Any]], notices: Notices
) -> None:
    first, second = due(12)
    assert started(second, {"grace_minutes": 600}).name == "Completed"
    assert started(first, {"grace_minutes": 600}).name == "Skipped"
    assert [notice["event"] for notice in notices] == ["late"]


def test_a_run_in_time_tells_nothing_and_one_past_the_grace_is_told(
    due: Callable[..., list[FlowRun]], started: Callable[..., State[Any]], notices: Notices
) -> None:
    (run,) = due(5)
    assert started(run, {"grace_minutes": 30}).name == "Completed"
    assert notices == []
    (run,) = due(5)
    assert started(run, {"grace_minutes": 2}).name == "Completed"
    assert "begun 5 minutes later" in notices[0]["message"]


def test_what_was_skipped_before_the_last_run_is_not_told_again(
    due: Callable[..., list[FlowRun]], started: Callable[..., State[Any]], client: SyncPrefectClient
) -> None:
    runs = due(35)
    for run, state in zip(runs, (Completed(name="Skipped"), Completed(), Late(), Running()), strict=True):
        client.set_flow_run_state(run.id, state, force=True)
    assert schedule_guard.missed_before(runs[3]) == 1


def test_a_newer_run_that_somebody_cancelled_stands_for_nothing(
    due: Callable[..., list[FlowRun]], client: SyncPrefectClient
) -> None:
    first, second = due(15)
    newer = schedule_guard.newer_due(first)
    assert newer is not None
    assert newer.id == second.id
    assert schedule_guard.newer_due(second) is None
    client.set_flow_run_state(second.id, Cancelled(), force=True)
    assert schedule_guard.newer_due(first) is None


@pytest.mark.parametrize("parameters", [{"force": True}, {}])
def test_forced_runs_and_runs_that_a_person_started_are_never_dropped(
    due: Callable[..., list[FlowRun]],
    started: Callable[..., State[Any]],
    client: SyncPrefectClient,
    parameters: dict[str, Any],
) -> None:
    first, second = due(15)
    if not parameters:
        assert first.deployment_id is not None
        asked_for = Scheduled(scheduled_time=first.expected_start_time)
        first = client.create_flow_run_from_deployment(first.deployment_id, state=asked_for)
        assert schedule_guard._time(first) < schedule_guard._time(second)
    assert started(first, **parameters).name == "Completed"


@pytest.fixture
def busy(make_workspace: Callable[..., Workspace]) -> Iterator[Callable[[], None]]:
    """Another run holds the workspace until the fixture's value is called, or the test ends."""
    release, held = threading.Event(), threading.Event()

    def other() -> None:
        with make_workspace().locked():
            held.set()
            release.wait(60)

    thread = threading.Thread(target=other)
    thread.start()
    assert held.wait(10)
    yield release.set
    release.set()
    thread.join()


def test_refuse_ends_a_run_that_meets_another_and_tells_of_it(
    due: Callable[..., list[FlowRun]],
    started: Callable[..., State[Any]],
    busy: Callable[[], None],
    notices: Notices,
) -> None:
    (run,) = due(1)
    assert started(run, {"overlap": "refuse"}).is_failed()
    assert [(notice["event"], notice["flow"]) for notice in notices] == [("refused", "retrain")]
    assert "another run" in notices[0]["message"]


def test_queue_waits_for_the_other_run(
    make_workspace: Callable[..., Workspace], busy: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        busy()
        threading.Event().wait(0.3)

    monkeypatch.setattr(module.time, "sleep", sleep)
    monkeypatch.setattr(module, "get_run_logger", module_logger)
    workspace = make_workspace()
    with ExitStack() as stack:
        assert hold(stack, workspace, None, wait=True) is None
        assert waits
        with pytest.raises(BusyError):
            workspace.refuse_if_busy()
    workspace.refuse_if_busy()


def module_logger() -> logging.Logger:
    return logging.getLogger("test")


def test_a_queued_run_looks_again_and_makes_room_for_a_newer_one(
    make_workspace: Callable[..., Workspace], busy: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([None, None, "the newer run"])
    monkeypatch.setattr(module, "newer_due", lambda _: next(looks))
    monkeypatch.setattr(module.time, "sleep", lambda _: None)
    monkeypatch.setattr(module, "get_run_logger", module_logger)
    with ExitStack() as stack:
        assert hold(stack, make_workspace(), "this run", wait=True) == "the newer run"


def test_runs_that_nobody_takes_are_told_once_and_again_after_it_was_well(
    due: Callable[..., list[FlowRun]], client: SyncPrefectClient, notices: Notices
) -> None:
    for old in client.read_flow_runs():
        client.delete_flow_run(old.id)
    runs = due(15)
    watch = schedule_guard.Watch(NotifyParams(), grace_minutes=3)
    watch.look()
    assert notices == []
    for run in runs:
        client.set_flow_run_state(run.id, Late(scheduled_time=run.expected_start_time), force=True)
    watch.look()
    watch.look()
    assert [notice["event"] for notice in notices] == ["late"]
    assert "2 runs wait since" in notices[0]["message"]
    assert "2 runs wait" in str(schedule_guard.status_line(3))
    for run in runs:
        client.set_flow_run_state(run.id, Completed(), force=True)
    watch.look()
    assert schedule_guard.status_line(3) is None
    client.set_flow_run_state(runs[0].id, Late(scheduled_time=runs[0].expected_start_time), force=True)
    watch.look()
    assert len(notices) == 2


def test_a_server_that_does_not_answer_is_said_by_status(monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx

    def refuse(_: int) -> None:
        raise httpx.ConnectError("refused")

    monkeypatch.setattr(schedule_guard, "waiting_too_long", refuse)
    assert "unknown: Prefect's server does not answer (ConnectError)" in str(schedule_guard.status_line(3))
