"""Rollback: the previous champion becomes champion again, in one step."""

from collections.abc import Sequence
from pathlib import Path

from flows.environment import ROOT, configure

configure()

from prefect import flow  # noqa: E402

from eyas.operations.notify import Notice  # noqa: E402
from flows.notify_hooks import tell_ending  # noqa: E402
from tasks.notify import tell  # noqa: E402
from tasks.promote import roll_back_champion  # noqa: E402
from tasks.workspace import open_workspace  # noqa: E402


@flow(
    name="eyas-rollback",
    persist_result=False,
    validate_parameters=False,
    on_failure=[tell_ending],
    on_crashed=[tell_ending],
    on_cancellation=[tell_ending],
)
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
