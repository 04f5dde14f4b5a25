"""Commands to type next, as they can be pasted: for the same profile and store, from where the user stands."""

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from eyas.cli.program import program
from eyas.cli.terminal import wrapped, wrapped_step
from eyas.errors import EyasError
from eyas.storage import redact, redacted
from tasks.workspace import Workspace, open_workspace

STEP_INDENT = 7
"""Columns before a command to type next."""
GATE_MARKS = ("ok   ", "FAIL ")
"""With which lines of gates begin."""
GATE_INDENT = len(GATE_MARKS[0])
"""Columns before what a gate says, also where that goes on."""


def next_command(workspace: Workspace, command: str, *options: str) -> str:
    """A command of ``eyas`` that acts on the profile of ``workspace``.

    Args:
        workspace: where something was done.
        command: such as ``promote``.
        options: further ones, such as ``--version`` and its number.
    """
    start = _start(workspace.root)
    profile = [*_profile(workspace, start), *_adaptation(workspace, command, options)]
    return shlex.join([*program(start), command, *profile, *options])


def version_command(workspace: Workspace, command: str, *options: str) -> str:
    """A command that a registered version answers, whatever made it: without what the profile sets, if that may go.

    It may where the parameter file alone is valid and names the same registered model.
    """
    named = replace(workspace, gates=())
    if workspace.arguments:
        with suppress(EyasError):
            alone = open_workspace(workspace.root, workspace.params_file)
            if alone.params.register_.model == workspace.params.register_.model:
                named = replace(named, arguments=alone.arguments)
    return next_command(named, command, *options)


def plain_command(root: Path, command: str, *options: str) -> str:
    """A command of ``eyas`` that acts on no profile in particular."""
    return shlex.join([*program(_start(root)), command, *options])


def next_lines(steps: Sequence[str], width: int | None = None) -> list[str]:
    """Commands as what to type next, a line each; those longer than ``width``, if it is given, in several."""
    return [
        f"{'' if number else 'next':<{STEP_INDENT}}{wrapped_step(step, width, STEP_INDENT)}"
        for number, step in enumerate(steps)
    ]


def text_with_steps(lines: Sequence[str], steps: Sequence[str], width: int | None = None) -> str:
    """What was done, and commands to type next; in lines of at most ``width``, if it is given.

    What a gate says stands below itself.
    """
    wrapped_lines = [wrapped(line, width, GATE_INDENT if line.startswith(GATE_MARKS) else 2) for line in lines]
    return "\n".join([*wrapped_lines, *next_lines(steps, width)])


def profile_options(workspace: Workspace) -> str:
    """What opens the profile of ``workspace`` in a command; nothing for the checkout's own."""
    return shlex.join(_profile(replace(workspace, gates=(), runtime={}), _start(workspace.root)))


def path_for_command(root: Path, path: Path) -> str:
    """A path as a printed command takes it: relative to the folder in the checkout from which it is typed."""
    return os.path.relpath(path.resolve(), _start(root))


def shown_path(path: Path) -> str:
    """A path as seen from where the user stands, if it lies below."""
    start = Path(os.environ.get("PWD", Path.cwd())).resolve()
    resolved = path.resolve()
    return os.path.relpath(resolved, start) if resolved.is_relative_to(start) else str(resolved)


@contextmanager
def completed_commands(workspace: Workspace) -> Iterator[None]:
    """Let errors of the library, which knows no profile, name whole commands where they say ``eyas`` in backticks."""
    try:
        yield
    except EyasError as error:
        message = complete(str(error), workspace)
        if message == str(error):
            raise
        raise type(error)(message) from error


def complete(message: str, workspace: Workspace) -> str:
    """A message whose commands of ``eyas``, in backticks, act on the profile of ``workspace``."""
    return re.sub(
        r"`eyas (\w+)((?: [^`]*)?)`",
        lambda match: f"`{next_command(workspace, match[1], *shlex.split(match[2]))}`",
        message,
    )


def _start(root: Path) -> Path:
    """The folder that the shell stands in, if that is in the checkout: commands change to the checkout themselves."""
    start, root = Path(os.environ.get("PWD", root)).resolve(), root.resolve()
    return start if root in (start, *start.parents) else root


def _profile(workspace: Workspace, start: Path) -> Iterator[str]:
    """The options that open the same profile again, settings of ``runtime`` included: they may name the store."""
    arguments = list(workspace.arguments)
    if arguments:  # the first two are --params and a path as seen from the checkout
        arguments[1] = os.path.relpath(workspace.root.resolve() / arguments[1], start)
    yield from arguments
    for item in workspace.gates:
        yield from ("--set", item)
    for name, value in _leaves(workspace.runtime, "runtime"):
        yield from ("--set", f"{name}={json.dumps(redacted(value))}")


def _adaptation(workspace: Workspace, command: str, options: Sequence[str]) -> Iterator[str]:
    """What was typed of ``adapt``, for ``eyas adapt`` alone; an adapter among the options is another one."""
    for item in workspace.adaptation if command == "adapt" else ():
        if "--adapter" not in options or not re.match(r"adapt\.adapter\b", item):
            yield from ("--set", redact(item))


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every value in nested mappings, by dotted name."""
    if isinstance(value, Mapping) and value:
        for inner, content in value.items():
            yield from _leaves(content, f"{name}.{inner}")
    elif name != "runtime":
        yield name, value
