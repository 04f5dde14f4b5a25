"""Text on a terminal, broken between words alone, commands so that they can be pasted; whole in a file or pipe."""

import re
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

import typer

from eyas.operations.typed_commands import command_lines, is_command

if TYPE_CHECKING:
    from rich.console import Console

_UNIT = re.compile(r"(?<=\d) (?=(?:%|ms|s|[kMGT]?B|[kMGT]|points|x)(?:\W|$))")
"""Between a number and what it counts."""
_KEPT = "\N{NO-BREAK SPACE}"


def terminal_width(*, err: bool = False) -> int | None:
    """Columns of the terminal that the standard output, or error output, goes to; None in a file or pipe."""
    stream = sys.stderr if err else sys.stdout
    return shutil.get_terminal_size().columns if stream.isatty() else None


def console_width(console: "Console") -> int | None:
    """The same of a console."""
    return console.width if console.is_terminal else None


def echo(text: str, indent: int = 2, *, err: bool = False) -> None:
    """Print text, each of its lines :func:`wrapped` where it goes to a terminal."""
    typer.echo(wrapped(text, terminal_width(err=err), indent), err=err)


def echo_labelled(line: str) -> None:
    """Print a line behind its label, or below it behind ten spaces; what goes on stands below its words."""
    words = re.match(r" +(?:\d  )?|\S+ +", line)
    margin = len(line) - len(line.lstrip())
    echo(line, words.end() - margin if words else 0)


def wrapped(text: str, width: int | None, indent: int = 2) -> str:
    """Every line in lines of at most ``width`` characters; a longer word stays whole.

    Args:
        text: of one line or several.
        width: of a line; None leaves them as they are.
        indent: of what goes on a line.
    """
    return text if width is None else "\n".join(_wrapped(line, width, indent) for line in text.split("\n"))


def _wrapped(line: str, width: int, indent: int) -> str:
    if len(line) <= width:
        return line
    margin = line[: len(line) - len(line.lstrip())]
    lines = textwrap.wrap(
        _UNIT.sub(_KEPT, line), width, subsequent_indent=margin + " " * indent, drop_whitespace=True,
        replace_whitespace=False, break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return "\n".join(lines).replace(_KEPT, " ")


def wrapped_step(step: str, width: int | None, indent: int) -> str:
    """A command to type, with what is said beside it behind three spaces; a broken one goes on behind a backslash."""
    if width is None or indent + len(step) <= width:
        return step
    if not is_command(step):
        return wrapped(" " * indent + step, width, 0).lstrip()
    command, _, note = step.partition("   (")
    lines = command_lines(command, width - indent - len(" \\"))
    margin = "\n" + " " * indent
    told = margin + wrapped(" " * indent + f"({note}", width, 1).lstrip() if note else ""
    return f" \\{margin}".join(lines) + told
