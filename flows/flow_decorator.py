"""What every flow of this project has in common."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect import Flow, flow

from eyas.cli.interruption import Interruption
from flows.notify_hooks import tell_ending

P = ParamSpec("P")
R = TypeVar("R")


def eyas_flow(function: Callable[P, R]) -> Flow[P, R]:
    """Make a flow called after its function, which tells how it ended.

    Results stay out of Prefect's store and parameters are checked by the flow itself: DVC and MLflow keep what
    matters, and a wrong parameter is explained by ``eyas.config``.
    """
    name = function.__name__
    return flow(
        name=f"eyas-{name}",
        flow_run_name=f"{name}-{{params_file}}",
        persist_result=False,
        validate_parameters=False,
        on_running=[_keep_signals],
        on_failure=[tell_ending],
        on_crashed=[tell_ending],
        on_cancellation=[tell_ending],
    )(function)


def _keep_signals(*_: Any) -> None:
    """A command ends in its own way; Prefect takes SIGTERM over when a flow begins."""
    command = Interruption.current()
    if command:
        command.install()
