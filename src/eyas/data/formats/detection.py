"""Which format a source's files are of, where nobody says."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, SerializeAsAny

from eyas.data.formats.base import Format
from eyas.data.tasks import Task
from eyas.errors import DataError, ParameterError

FormatChoice: TypeAlias = Format | Literal["auto"]
"""A format, or ``auto``: look at the files."""


def _parse(value: Any) -> FormatChoice:
    if value == "auto":
        return "auto"
    try:
        return Format.validated(value)
    except ParameterError as error:
        msg = f"{error}, or auto"
        raise ParameterError(msg) from error


AnyFormat = Annotated[FormatChoice, SerializeAsAny(), BeforeValidator(_parse)]


def choose_format(choice: FormatChoice, files: Sequence[str], source: str, task: str = "classification") -> Format:
    """The format that was asked for, or the one that recognises the files of ``source`` and has labels for ``task``.

    Raises:
        DataError: none does, or the one that was asked for has labels for another task.
    """
    if choice == "auto":
        return detect(files, source, task)
    if not _serves(type(choice), task):
        msg = f"`format` {choice.kind} has labels for {choice.task}, and `task` is {task}: change one of them"
        raise DataError(msg)
    return choice


def detect(files: Sequence[str], source: str, task: str = "classification") -> Format:
    """The format, with its default options, that knows files of these names and has labels for ``task``.

    Raises:
        DataError: none does; the message says what would be known.
    """
    members = [member for member in Format.members().values() if _serves(member, task)]
    members.sort(key=lambda member: (-member.priority, member.task != task))
    for member in members:
        if member.recognises(files):
            return member()
    shown = ", ".join(files[:5]) or "no file at all"
    expected = ", ".join(member.expects or member.model_fields["kind"].default for member in members)
    msg = f"no known format in {source} ({shown}): expected one of {expected}; or name one with `format`"
    others = {member.task for member in Format.members().values() if member.recognises(files)}
    if others:
        msg += f"; with `task` {' or '.join(sorted(others))} they can be read"
    raise DataError(msg)


def _serves(member: type[Format], task: str) -> bool:
    """Whether a format brings what a task needs: any that has one label per image does where none is read."""
    return member.task == task or (member.task == Format.task and not Task.members()[task].labelled)
