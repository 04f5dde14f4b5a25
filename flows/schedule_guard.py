"""Scheduled runs that come late: of several that are due only the newest runs, and people are told once for the lot.

Prefect's own concurrency limit of a deployment gives neither: ``CANCEL_NEW`` ends a run on the server, where no code
of ours can tell of it; with ``ENQUEUE`` any number waits; and both see the deployment's runs only, not those that a
call or a person started. So the workspace's lock keeps runs apart, and each scheduled run looks here whether a newer
one is due.
"""

import itertools
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateName,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import FlowRunContext

from eyas.config import NotifyParams
from eyas.operations.notify import Notice
from tasks.notify import tell

logger = logging.getLogger("eyas.lateness")

FLOWS = ("eyas-pipeline", "eyas-retrain", "eyas-adapt")
SKIPPED = "Skipped"
WATCH_SECONDS = 60.0


def scheduled_run() -> FlowRun | None:
    """The present run if a schedule made it; None for one that a person, a call or a script started."""
    context = FlowRunContext.get()
    run: Any = context.flow_run if context else None
    return run if run is not None and run.auto_scheduled and run.deployment_id else None


def newer_due(run: FlowRun) -> FlowRun | None:
    """The newest run of the same schedule that is due after ``run``, if there is one that nobody cancelled."""
    window = FlowRunFilterExpectedStartTime(after_=_time(run), before_=datetime.now(UTC))
    newer = (other for other in _scheduled(run, window) if _time(other) > _time(run))
    return next((other for other in newer if not _is_cancelled(other)), None)


def missed_before(run: FlowRun) -> int:
    """How many runs of the same schedule were due before ``run`` and after the last one that did its work.

    Asked by a run that holds its workspace: one that is on its way cannot be at work, and will find ``run`` due.
    """
    window = FlowRunFilterExpectedStartTime(before_=_time(run))
    earlier = (other for other in _scheduled(run, window) if _time(other) < _time(run))
    return sum(1 for _ in itertools.takewhile(_did_nothing, earlier))


def lateness(run: FlowRun, grace_minutes: int) -> str | None:
    """What to tell of a scheduled run that begins now; None where it is in time and misses none."""
    late, missed = datetime.now(UTC) - _time(run), missed_before(run)
    if late <= timedelta(minutes=grace_minutes) and not missed:
        return None
    begun = f"scheduled for {_time(run):%Y-%m-%d %H:%M %Z}, begun {late.total_seconds() / 60:.0f} minutes later"
    return f"{begun}; it stands for {missed} earlier ones that were skipped" if missed else begun


def waiting_too_long(grace_minutes: int) -> list[FlowRun]:
    """Runs of ours that Prefect's server calls late and nobody has taken for ``grace_minutes``, the oldest first."""
    due = FlowRunFilterExpectedStartTime(before_=datetime.now(UTC) - timedelta(minutes=grace_minutes))
    late = FlowRunFilterState(name=FlowRunFilterStateName(any_=["Late"]))
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=list(FLOWS))),
            flow_run_filter=FlowRunFilter(expected_start_time=due, state=late),
            sort=FlowRunSort.EXPECTED_START_TIME_ASC,
        )


def describe_waiting(runs: Sequence[FlowRun]) -> str:
    """What to tell of runs that nobody takes."""
    since = f"{_time(runs[0]):%Y-%m-%d %H:%M %Z}"
    return f"{len(runs)} runs wait since {since} and nobody takes them: is a worker (or `eyas serve`) up, and free?"


def status_line(grace_minutes: int) -> str | None:
    """A line for ``eyas status``; None where nothing waits."""
    try:
        waiting = waiting_too_long(grace_minutes)
    except httpx.HTTPError as error:
        return f"late       unknown: Prefect's server does not answer ({type(error).__name__}): check PREFECT_API_URL"
    return f"late       {describe_waiting(waiting)}" if waiting else None


@dataclass
class Watch:
    """Tells of runs that never start: once for a deployment, and again when it was well in between."""

    notify: NotifyParams
    grace_minutes: int
    told: set[UUID | None] = field(default_factory=set)

    def look(self) -> None:
        """Look once."""
        waiting: dict[UUID | None, list[FlowRun]] = {}
        for run in waiting_too_long(self.grace_minutes):
            waiting.setdefault(run.deployment_id, []).append(run)
        for deployment in waiting.keys() - self.told:
            tell(self.notify, Notice("late", "schedule", describe_waiting(waiting[deployment])))
        self.told = set(waiting)

    def start(self, seconds: float = WATCH_SECONDS) -> None:
        """Look every so many seconds, in a thread that ends with the process."""
        threading.Thread(target=self._forever, args=(seconds,), name="late runs", daemon=True).start()

    def _forever(self, seconds: float) -> None:
        pause = threading.Event()
        while not pause.wait(seconds):
            try:
                self.look()
            except httpx.HTTPError as error:
                logger.warning("Prefect's server was not asked for late runs: %s", error)


def _scheduled(run: FlowRun, window: FlowRunFilterExpectedStartTime) -> list[FlowRun]:
    """Runs that the schedules of ``run``'s deployment made for a time in ``window``, the newest first."""
    same = FlowRunFilterDeploymentId(any_=[run.deployment_id])
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(deployment_id=same, expected_start_time=window),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        )
    return [other for other in runs if other.auto_scheduled]


def _time(run: FlowRun) -> datetime:
    assert run.expected_start_time is not None
    return run.expected_start_time


def _is_cancelled(run: FlowRun) -> bool:
    return run.state is not None and (run.state.is_cancelled() or run.state.is_cancelling())


def _did_nothing(run: FlowRun) -> bool:
    return run.state is None or run.state.name == SKIPPED or not run.state.is_final()
