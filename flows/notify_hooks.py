"""How a run ended, told to people: Prefect calls these hooks, also for a run whose process was killed or cancelled."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from eyas.cli.interruption import FAILED, Stopped
from eyas.config import NotifyParams, read_sections
from eyas.errors import BusyError, EyasError, RefusedError
from eyas.operations.notify import Event, Notice
from flows.environment import ROOT
from tasks.notify import tell
from tasks.workspace import open_workspace


def tell_ending(flow: Any, flow_run: Any, state: Any) -> None:
    """Hook of a flow for ``on_failure``, ``on_crashed`` and ``on_cancellation``."""
    error = getattr(state.data, "result", state.data)
    error = error if isinstance(error, BaseException) else None
    message = state.message or state.name
    if isinstance(error, (EyasError, Stopped)):
        message = str(error)
    parameters = flow_run.parameters
    tell_error(
        flow.name.removeprefix("eyas-"),
        parameters.get("params_file", "params.yaml"),
        parameters.get("overrides", ()),
        parameters.get("name"),
        event=event_of(state, error),
        message=message,
    )


def event_of(state: Any, error: BaseException | None) -> Event:
    """What to call it: a run that met another, or a gate, was refused; one that somebody ended was cancelled."""
    if isinstance(error, (BusyError, RefusedError)):
        return "refused"
    if isinstance(error, Stopped) and error.status == FAILED:
        return "failed"
    if state.is_cancelling() or state.is_cancelled() or isinstance(error, KeyboardInterrupt):
        return "cancelled"
    return "failed"


def tell_error(
    flow_name: str, params_file: str, overrides: Sequence[str], name: str | None, *, event: Event, message: str
) -> None:
    """Tell of a run that did not do its work, also where its parameters cannot be read."""
    path = Path(ROOT, params_file)
    try:
        workspace = open_workspace(ROOT, path, overrides, name=name)
    except EyasError:
        tell(readable_part(path), Notice(event, flow_name, message, name or path.stem))
    else:
        tell(workspace.params.notify, Notice(event, flow_name, message, workspace.name))


def readable_part(path: Path) -> NotifyParams:
    """The section ``notify`` of a file that is wrong elsewhere; its defaults where it is wrong itself."""
    try:
        return NotifyParams.model_validate(read_sections(path).get("notify") or {})
    except (EyasError, ValidationError):
        return NotifyParams()
