"""Rollback: the previous champion becomes champion again, in one step."""

from collections.abc import Sequence
from pathlib import Path

from eyas.operations.notify import Notice
from flows.environment import ROOT
from flows.flow_decorator import eyas_flow
from tasks.notify import tell
from tasks.promote import roll_back_champion
from tasks.workspace import open_workspace


@eyas_flow
def rollback(
    params_file: str = "params.yaml", overrides: Sequence[str] = (), name: str | None = None, reason: str = ""
) -> str:
    """Make the previous champion the champion again.

    Args:
        params_file: of the profile.
        overrides: ``section.field=value`` each.
        name: of the workspace.
        reason: why; recorded.

    Raises:
        RefusedError: there is no previous champion.
    """
    workspace = open_workspace(ROOT, Path(ROOT, params_file), overrides, name=name)
    message = roll_back_champion(workspace, reason)
    tell(workspace.params.notify, Notice("rolled_back", "rollback", message, workspace.name))
    return message
