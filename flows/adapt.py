"""Adaptation: the champion follows images of the field where that helps, and is taken back where it did not."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from prefect.states import Completed

from eyas.operations.notify import Notice
from flows.environment import ROOT
from flows.flow_decorator import eyas_flow
from flows.orphaned_flow_runs import end_orphaned_flow_run
from flows.retrain import hold
from flows.schedule_guard import SKIPPED, lateness, scheduled_run
from tasks.adapt import adapt_version, open_made_in
from tasks.adaptation_case import AdaptDecision
from tasks.notify import tell
from tasks.workspace import open_workspace


@eyas_flow
def adapt(
    params_file: str = "params.yaml",
    overrides: Sequence[str] = (),
    name: str | None = None,
    images: str | None = None,
    version: str | None = None,
    *,
    labelled: bool = False,
    force: bool = False,
    reason: str = "schedule",
) -> Any:
    """Look at images of the field, and propose an adapted version, or take one back.

    One at a time, and none beside a run of the profile: both hold the workspace.

    Args:
        params_file: of the profile, relative to the checkout or absolute; the version's own profile takes its place
            unless overrides or a name say which is meant.
        overrides: ``section.field=value`` each.
        name: of the workspace.
        images: where they are; without it ``adapt.images``.
        version: number or alias of what is adapted; without it the champion.
        labelled: whether the images say what they show.
        force: adapt also where nothing drifted, or adaptation is not expected to help.
        reason: who or what asked; recorded.

    Returns:
        The :class:`AdaptDecision`. A scheduled run for which a newer one is due ends in the state ``Skipped``.

    Raises:
        RefusedError: the rule or a gate said no; nothing was registered.
        BusyError: a run or another adaptation of the profile holds it, and ``adapt.schedule.overlap`` is ``refuse``.
    """
    named = open_workspace(ROOT, Path(ROOT, params_file), overrides, name=name)
    workspace = open_made_in(named, version, overrides, name)
    params, run = named.params, scheduled_run()
    schedule, notify = params.adapt.schedule, params.notify
    with ExitStack() as stack:
        newer = hold(stack, workspace, run, wait=schedule.overlap == "queue")
        if newer is not None:
            why = f"skipped: the run that was scheduled for {newer.expected_start_time:%Y-%m-%d %H:%M %Z} stands for it"
            return Completed(name=SKIPPED, message=why)
        end_orphaned_flow_run(workspace)
        late = lateness(run, schedule.grace_minutes) if run else None
        if late:
            tell(notify, Notice("late", "adapt", late, workspace.name))
        how = {"labelled": labelled, "force": force, "reason": reason}
        decision: AdaptDecision = adapt_version(workspace, images, version, **how)
    if decision.outcome == "reverted":
        tell(notify, Notice("rolled_back", "adapt", decision.message, workspace.name))
    return decision
