"""Retraining: compare what a run would be made of with what the champion was made of, and run only if it differs."""

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prefect import get_run_logger
from prefect.states import Completed

from eyas.errors import BusyError
from eyas.operations.fingerprint import MEANING, Fingerprint, changed_files
from eyas.operations.notify import Notice
from eyas.operations.tracking import Version, model_registry
from eyas.operations.tracking.model_registry import CHAMPION, MANIFEST_DIGEST
from flows.environment import ROOT
from flows.flow_decorator import eyas_flow
from flows.orphaned_flow_runs import end_orphaned_flow_run
from flows.pipeline import run_stages
from flows.schedule_guard import SKIPPED, lateness, newer_due, scheduled_run
from tasks.dvc_cli import stage_names
from tasks.fingerprint import STAGE_OF, code_files, recorded_sources, take_fingerprint
from tasks.notify import tell
from tasks.report import is_champion, next_step
from tasks.tracking_store import candidate_alias, open_store
from tasks.workspace import Workspace, open_workspace

WAIT_SECONDS = 5.0


@dataclass(frozen=True)
class Decision:
    """What retraining came to, and why."""

    ran: bool
    reason: str
    changes: tuple[str, ...]
    compared_with: str | None
    version: str | None
    run_id: str | None = None


@eyas_flow
def retrain(
    params_file: str = "params.yaml",
    overrides: Sequence[str] = (),
    name: str | None = None,
    reason: str = "asked",
    *,
    force: bool = False,
) -> Any:
    """Run the pipeline if data, parameters, code or base checkpoint changed since the champion was made.

    Args:
        params_file: of the profile, relative to the checkout or absolute.
        overrides: ``section.field=value`` each.
        name: of the workspace.
        reason: who or what asked; recorded.
        force: run every stage again, even if nothing changed.

    Returns:
        The :class:`Decision`. A scheduled run for which a newer one is due ends in the state ``Skipped``.

    Raises:
        BusyError: another run of the profile still runs and ``schedule.overlap`` is ``refuse``.
    """
    workspace = open_workspace(ROOT, Path(ROOT, params_file), overrides, name=name)
    schedule, run = workspace.params.schedule, None if force else scheduled_run()
    with ExitStack() as stack:
        newer = hold(stack, workspace, run, wait=schedule.overlap == "queue")
        if newer is not None:
            why = f"skipped: the run that was scheduled for {newer.expected_start_time:%Y-%m-%d %H:%M %Z} stands for it"
            return Completed(name=SKIPPED, message=why, data=Decision(False, why, (), None, None))
        end_orphaned_flow_run(workspace)
        late = lateness(run, schedule.grace_minutes) if run else None
        if late:
            tell(workspace.params.notify, Notice("late", "retrain", late, workspace.name))
        return decide_and_run(workspace, reason, force=force)


def hold(stack: ExitStack, workspace: Workspace, run: Any, *, wait: bool) -> Any:
    """Hold the workspace until ``stack`` is left; or return the newer scheduled run that does so instead of ``run``.

    Asked again while it waits, so that of scheduled runs at most one does.

    Raises:
        BusyError: another run holds it, and ``wait`` was not asked for.
    """
    while True:
        newer = newer_due(run) if run else None
        if newer is not None:
            return newer
        try:
            stack.enter_context(workspace.locked())
        except BusyError as error:
            if not wait:
                raise
            get_run_logger().info("waiting: %s", error)
            time.sleep(WAIT_SECONDS)
        else:
            return None


def decide_and_run(workspace: Workspace, reason: str, *, force: bool) -> Decision:
    """The body of the flow, inside the workspace's lock."""
    logger = get_run_logger()
    fingerprint = take_fingerprint(workspace)
    reference = reference_version(workspace, fingerprint)
    made_of = Fingerprint.from_tags(reference.tags) if reference else None
    changes = tuple(fingerprint.changes_since(made_of)) if made_of else tuple(MEANING)
    compared = str(reference) if reference else None
    if not changes and not force:
        parts = ", ".join(MEANING.values())
        why = f"nothing changed since {compared}: compared {parts}"
        logger.info("%s", why)
        return Decision(False, why, (), compared, reference.number if reference else None)
    files = changed_code(workspace, reference) if reference and "code" in changes else []
    why = explain(changes, compared, known=made_of is not None, files=files)
    logger.info("retraining (%s): %s", reason, why)
    outcome = run_stages(workspace, again=stage_names(workspace.folder) if force else stale(workspace, fingerprint))
    store = open_store(workspace)
    version = model_registry.get_version(store, workspace.params.register_.model, str(outcome.version))
    if len(outcome.skipped) == len(stage_names(workspace.folder)):
        why = f"every stage was up to date, and {version} has these files; {why}"
        logger.info("%s", why)
        return Decision(False, why, changes, compared, version.number, outcome.run_id)
    model_registry.tag_version(store, version, {"eyas.retrain.reason": reason, "eyas.retrain.because": why})
    proposed = not is_champion(workspace, version.number)
    way = f"is proposed; next: {next_step(workspace, version.number)}" if proposed else "is the champion already"
    logger.info("%s %s", version, way)
    return Decision(True, why, changes, compared, version.number, outcome.run_id)


def reference_version(workspace: Workspace, fingerprint: Fingerprint) -> Version | None:
    """The champion; before there is one, or where it is another budget's, this profile's candidate.

    Of several versions that have its files, the one that this fingerprint has made, if any: to make it again would
    bring nothing but one more of them.
    """
    store, model = open_store(workspace), workspace.params.register_.model
    alias = candidate_alias(workspace)
    champion, own = model_registry.get_alias(store, model, CHAMPION), alias.version_in(store, model)
    reference = own if champion is None or (own and not alias.owns(champion)) else champion
    if reference is None or MANIFEST_DIGEST not in reference.tags:
        return reference
    equal = (
        version
        for version in model_registry.list_versions(store, model)
        if version.tags.get(MANIFEST_DIGEST) == reference.manifest_digest
        and Fingerprint.from_tags(version.tags) == fingerprint
    )
    return next(equal, reference)


def stale(workspace: Workspace, fingerprint: Fingerprint) -> list[str]:
    """The stages whose source has changed since they brought it: DVC cannot see that."""
    here = recorded_sources(workspace)
    return [stage for part, stage in STAGE_OF.items() if here[part] != getattr(fingerprint, part)]


def changed_code(workspace: Workspace, reference: Version) -> list[str]:
    """The source files that are not as they were for a version, if it tells what they were."""
    with tempfile.TemporaryDirectory() as scratch:
        then = model_registry.fetch_code(open_store(workspace), reference, Path(scratch))
    return changed_files(code_files(workspace), then) if then else []


def explain(changes: Sequence[str], compared: str | None, *, known: bool, files: Sequence[str] = ()) -> str:
    """Why it runs, in words.

    Args:
        changes: parts of the fingerprint that differ.
        compared: the version compared with.
        known: whether it tells what it was made of.
        files: what happened to which source file.
    """
    if compared is None:
        return "no version is registered yet"
    if not known:
        return f"{compared} does not say what it was made of"
    if not changes:
        return f"forced; nothing changed since {compared}"
    meaning = MEANING | ({"code": f"code: {', '.join(files)}"} if files else {})
    return f"changed since {compared}: {'; '.join(meaning[name] for name in changes)}"


def as_json(decision: Decision) -> dict[str, object]:
    """For the command line and for CI."""
    return asdict(decision)
