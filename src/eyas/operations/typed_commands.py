"""Commands as a person pastes them: broken behind backslashes, and parted from what is said of them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

LONGEST_LINE = 84
"""Characters of a command's line on a page: as many as a printed one has room for."""
_TOKENS = re.compile(r"""(?:[^\s'"]|'[^']*'|"[^"]*")+""")
"""The words of a shell, quoted ones whole."""
_PROGRAMS = ("eyas", "eyas.cli", "make")
_NOTE = re.compile(r"   (?:\((?P<bracket>.*)\)|# (?P<comment>.*))$")
"""What is said of a command, three spaces behind it."""


@dataclass(frozen=True)
class TypedCommand:
    """A command and what is said of it; either may be empty."""

    command: str
    note: str = ""


def is_command(step: str) -> bool:
    """Whether a step can be pasted, and is not advice in words."""
    return any(_is_program(token) for token in _TOKENS.findall(step)[:3])


def typed_command(step: str) -> TypedCommand:
    """A step as a terminal prints it, as ``command   (note)``, ``words command`` or ``# words``, in its two parts."""
    if step.startswith("# "):
        return TypedCommand("", step.removeprefix("# "))
    note = _NOTE.search(step)
    if note:
        return TypedCommand(step[: note.start()], note["bracket"] or note["comment"])
    words = list(_TOKENS.finditer(step))
    start = next((word.start() for word in words if _is_program(word[0])), None)
    if is_command(step) or start is None:
        return TypedCommand(step) if is_command(step) else TypedCommand("", step)
    return TypedCommand(step[start:], step[:start].rstrip())


def pasted(lines: Sequence[str]) -> tuple[str, list[str]]:
    """Lines of a shell as one text that can be pasted, in lines of :data:`LONGEST_LINE`; and their comments."""
    commands, notes = [], []
    for line in lines:
        note = _NOTE.search(line)
        if line.startswith("# "):
            notes.append(line.removeprefix("# "))
        else:
            commands.append(broken(line[: note.start()] if note else line))
            notes += [note["bracket"] or note["comment"]] if note else []
    return "\n".join(commands), notes


def broken(command: str, room: int = LONGEST_LINE) -> str:
    """A command in lines of at most so many characters, each but the last with a backslash behind; words stay whole."""
    if len(command) <= room:
        return command
    words: list[str] = []
    for token in _TOKENS.findall(command):
        if words and words[-1].startswith("--") and " " not in words[-1] and not token.startswith("-"):
            words[-1] += f" {token}"  # an option stays with its value
        else:
            words.append(token)
    lines = _lines(words, room - len("   \\"))
    return " \\\n  ".join(line.strip() for line in lines)


def command_lines(command: str, room: int) -> list[str]:
    """The words of a command in lines of at most ``room`` characters; a longer word stays whole."""
    return _lines(_TOKENS.findall(command), room)


def _lines(words: Sequence[str], room: int) -> list[str]:
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + 1 + len(word) > room:
            lines.append("  " + word)
        else:
            lines[-1] = f"{lines[-1]} {word}".lstrip()
    return lines


def shell_words(text: str) -> list[str]:
    """What stands between a command's words and these words, in turns; indent and backslash belong to their word."""
    return re.split(rf"((?:^  )?{_TOKENS.pattern}(?: \\$)?)", text, flags=re.MULTILINE)


def _is_program(token: str) -> bool:
    return token.rpartition("/")[2] in _PROGRAMS
