"""The profile that a command names: its file and overrides, looked at, and its workspace; and the command's log."""

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from eyas.config.first_look import look_at_names
from flows.environment import ROOT
from tasks.profile_name import check_name

if TYPE_CHECKING:
    from tasks.workspace import Workspace


def parameter_file(params: Path | None) -> Path:
    """The parameter file that was named, or the checkout's own."""
    return (params or ROOT / "params.yaml").resolve()


def relative(params: Path | None) -> str:
    """As the flows take it: a deployment on another machine has another checkout."""
    return os.path.relpath(parameter_file(params), ROOT)


def look_at_typed(params: Path | None, overrides: Sequence[str] = (), name: str | None = None) -> None:
    """Tell in a moment what the names alone tell; all else takes longer."""
    if name is not None:
        check_name(name)
    look_at_names(parameter_file(params), overrides)


def checked(params: Path | None, overrides: Sequence[str], name: str | None) -> "Workspace":
    """The workspace; a wrong parameter must not wait for Prefect to start."""
    look_at_typed(params, overrides, name)
    from tasks.workspace import open_workspace

    return open_workspace(ROOT, parameter_file(params), overrides, name=name)


def require_records(
    workspace: "Workspace", params: Path | None, overrides: Sequence[str], name: str | None, *, tell: bool
) -> None:
    """Where nothing was ever recorded there is no candidate, which needs neither MLflow nor Prefect to be told.

    Raises:
        BadInputError: nothing was; with ``tell`` whoever is notified of failures knows it, too.
    """
    from eyas.operations.tracking.promotion import no_candidate
    from tasks.tracking_store import is_unused

    if not is_unused(workspace):
        return
    error = no_candidate(workspace.params.register_.model, workspace.params.register_.alias)
    if tell:
        from flows.notify_hooks import tell_error

        tell_error("promote", relative(params), overrides, name, event="failed", message=str(error))
    raise error


def log_file(command: str) -> Path:
    """A new one for a command."""
    return ROOT / ".eyas" / "logs" / f"{command}-{datetime.now():%Y%m%d-%H%M%S}.log"
