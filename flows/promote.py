"""Promotion: the gates decide whether a version becomes champion."""

from collections.abc import Sequence
from pathlib import Path

from eyas.operations.gates import PromotionDecision
from eyas.operations.notify import Notice
from flows.environment import ROOT
from flows.flow_decorator import eyas_flow
from tasks.notify import tell
from tasks.promote import promote_candidate
from tasks.workspace import open_workspace


@eyas_flow
def promote(
    params_file: str = "params.yaml",
    overrides: Sequence[str] = (),
    name: str | None = None,
    version: str | None = None,
    force: str | None = None,
    *,
    of_lock: bool = False,
    report: str | None = None,
) -> PromotionDecision:
    """Judge a version (without one the candidate) against dense network and champion; move the alias if all gates hold.

    Args:
        params_file: of the profile whose test set and gates decide.
        overrides: ``section.field=value`` each.
        name: of the workspace.
        version: number of the model version.
        force: a written reason that overrides the gates; recorded.
        of_lock: judge the version that the profile's ``dvc.lock`` registered.
        report: where the decision is written, as JSON if the name ends in ``.json``, else as Markdown.

    Raises:
        RefusedError: a gate said no; the champion is untouched.
    """
    workspace = open_workspace(ROOT, Path(ROOT, params_file), overrides, name=name)
    place = Path(report) if report else None
    decision = promote_candidate(workspace, version, force, of_lock=of_lock, report=place)
    if decision.outcome != "unchanged":
        tell(workspace.params.notify, Notice("promoted", "promote", decision.message, workspace.name))
    return decision
