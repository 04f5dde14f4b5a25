"""What every flow of this project has in common."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from prefect import Flow, flow
from prefect.runtime import flow_run

from eyas.cli.interruption import Interruption
from eyas.errors import EyasError
from flows.environment import ROOT
from flows.notify_hooks import tell_ending
from tasks.profile_name import profile_of
from tasks.record import name_of
from tasks.workspace import open_workspace

P = ParamSpec("P")
R = TypeVar("R")
COMMANDS = {"pipeline": "run"}
"""The command of a flow that is called otherwise."""


def eyas_flow(function: Callable[P, R]) -> Flow[P, R]:
    """Make a flow called after its function, which tells how it ended.

    Results stay out of Prefect's store and parameters are checked by the flow itself: DVC and MLflow keep what
    matters, and a wrong parameter is explained by ``eyas.config``.
    """
    name = function.__name__
    return flow(
        name=f"eyas-{name}",
        flow_run_name=lambda: run_name(name, flow_run.parameters),
        persist_result=False,
        validate_parameters=False,
        on_running=[_keep_signals],
        on_failure=[tell_ending],
        on_crashed=[tell_ending],
        on_cancellation=[tell_ending],
    )(function)


def run_name(flow_name: str, parameters: Mapping[str, Any]) -> str:
    """Command, profile and budget, as in ``retrain cifar10_resnet20 · 50 % MACs``; of what cannot be read no budget."""
    file = Path(ROOT, parameters.get("params_file", "params.yaml"))
    overrides, name = parameters.get("overrides", ()), parameters.get("name")
    try:
        run = name_of(open_workspace(ROOT, file, overrides, name=name))
    except EyasError:  # the flow itself will say what is wrong
        run = profile_of(ROOT, file, overrides, name)
    return f"{COMMANDS.get(flow_name, flow_name)} {run}"


def _keep_signals(*_: Any, **__: Any) -> None:
    """A command ends in its own way; Prefect takes SIGTERM over when a flow begins."""
    command = Interruption.current()
    if command:
        command.install()
