"""Retraining: compare what a run would be made of with what the champion was made of, and run only if it differs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flows.environment import ROOT, configure

configure()

from prefect import flow, get_run_logger  # noqa: E402
from prefect.runtime import flow_run  # noqa: E402

from eyas.errors import BusyError, EyasError  # noqa: E402
from eyas.fingerprint import MEANING, Fingerprint  # noqa: E402
from eyas.notify import Event, Notice  # noqa: E402
from eyas.tracking import Version, registry  # noqa: E402
from flows.pipeline import run_stages  # noqa: E402
from tasks.fingerprint import take_fingerprint  # noqa: E402
from tasks.notify import tell  # noqa: E402
from tasks.record import open_store  # noqa: E402
from tasks.workspace import Workspace, open_workspace  # noqa: E402

REFERENCES = ("champion", "candidate")
# DVC cannot see into a remote source: what changed there is brought again whatever DVC thinks.
STAGE_OF = {"data": "fetch", "checkpoint": "baseline"}


@dataclass(frozen=True)
class Decision:
    """What retraining came to, and why."""

    ran: bool
    reason: str
    changes: tuple[str, ...]
    compared_with: str | None
    version: str | None
    run_id: str | None = None


@flow(name="eyas-retrain", flow_run_name="retrain-{params_file}", persist_result=False, validate_parameters=False)
def retrain(
    params_file: str = "params.yaml",
    overrides: Sequence[str] = (),
    name: str | None = None,
    reason: str = "asked",
    *,
    force: bool = False,
) -> Decision:
    """Run the pipeline if data, parameters, code or base checkpoint changed since the champion was made.

    Args:
        params_file: of the profile, relative to the checkout or absolute.
        overrides: ``section.field=value`` each.
        name: of the workspace.
        reason: who or what asked; recorded.
        force: run even if nothing changed.

    Raises:
        BusyError: another run of the profile still runs and ``schedule.overlap`` is ``refuse``.
    """
    workspace = open_workspace(ROOT, Path(ROOT, params_file), overrides, name=name)
    with notified(workspace, "retrain"):
        if superseded(workspace):
            return Decision(False, "a newer scheduled run is due", (), None, None)
        with workspace.locked(wait=workspace.params.schedule.overlap == "queue"):
            return decide_and_run(workspace, reason, force=force)


def decide_and_run(workspace: Workspace, reason: str, *, force: bool) -> Decision:
    """The body of the flow, inside the workspace's lock."""
    logger = get_run_logger()
    fingerprint = take_fingerprint(workspace)
    reference = reference_version(workspace)
    made_of = Fingerprint.from_tags(reference.tags) if reference else None
    changes = tuple(fingerprint.changes_since(made_of)) if made_of else tuple(MEANING)
    compared = str(reference) if reference else None
    if not changes and not force:
        parts = ", ".join(MEANING.values())
        why = f"nothing changed since {compared}: compared {parts}"
        logger.info("%s", why)
        return Decision(False, why, (), compared, reference.number if reference else None)
    why = explain(changes, compared, forced=force and not changes)
    logger.info("retraining (%s): %s", reason, why)
    outcome = run_stages(workspace, again=[STAGE_OF[name] for name in changes if name in STAGE_OF])
    store = open_store(workspace)
    version = registry.get_version(store, workspace.params.register_.model, str(outcome.version))
    tags = fingerprint.tags() | {"eyas.retrain.reason": reason, "eyas.retrain.because": why}
    registry.tag_version(store, version, tags)
    logger.info("%s is proposed: python -m flows promote --version %s", version, version.number)
    return Decision(True, why, changes, compared, version.number, outcome.run_id)


def reference_version(workspace: Workspace) -> Version | None:
    """The champion; before there is one, the candidate."""
    store, model = open_store(workspace), workspace.params.register_.model
    found = (registry.get_alias(store, model, alias) for alias in REFERENCES)
    return next((version for version in found if version), None)


def explain(changes: Sequence[str], compared: str | None, *, forced: bool) -> str:
    """Why it runs, in words."""
    if compared is None:
        return "no version is registered yet"
    if forced:
        return f"forced; nothing changed since {compared}"
    return f"changed since {compared}: {', '.join(MEANING[name] for name in changes)}"


def superseded(workspace: Workspace) -> bool:
    """Whether this scheduled run starts so late that the next one is due; tells that it is late."""
    scheduled = flow_run.get_scheduled_start_time()
    schedule = workspace.params.schedule
    late = datetime.now(UTC) - scheduled if scheduled else timedelta(0)
    if late <= timedelta(minutes=schedule.grace_minutes):
        return False
    message = f"scheduled for {scheduled:%Y-%m-%d %H:%M %Z}, started {late.total_seconds() / 60:.0f} minutes later"
    tell(workspace.params.notify, Notice("late", "retrain", message, workspace.name))
    due = schedule.interval_minutes is not None and late >= timedelta(minutes=schedule.interval_minutes)
    if schedule.cron:
        due = _next_after(schedule.cron, schedule.timezone, scheduled) <= datetime.now(UTC)
    return due


def _next_after(cron: str, timezone: str, moment: datetime) -> datetime:
    """The next time of a cron rhythm after ``moment``."""
    from zoneinfo import ZoneInfo

    from cronsim import CronSim

    return next(CronSim(cron, moment.astimezone(ZoneInfo(timezone)))).astimezone(UTC)


@contextmanager
def notified(workspace: Workspace, flow_name: str) -> Iterator[None]:
    """Tell of a run that is refused or fails, then let the error go on."""
    try:
        yield
    except Exception as error:
        event: Event = "refused" if isinstance(error, BusyError) else "failed"
        message = str(error) if isinstance(error, EyasError) else f"{type(error).__name__}: {error}"
        tell(workspace.params.notify, Notice(event, flow_name, message, workspace.name))
        raise


def as_json(decision: Decision) -> dict[str, object]:
    """For the command line and for CI."""
    return asdict(decision)
