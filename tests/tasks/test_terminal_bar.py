"""The bar on a terminal: below the log lines, gone when all is done, and absent where nobody looks."""

import io
import re

from rich.console import Console

from tasks.terminal_bar import TerminalBar

CLEARED = "\x1b[2K"


def written(*, terminal: bool) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=100, color_system=None)
    with TerminalBar("score", console) as bar:
        bar.update(40, 200, "best 0.31")
        console.print("a line of the log")
        bar.update(200, 200, "done")
    return file.getvalue()


def test_a_log_line_stands_alone_above_the_bar() -> None:
    lines = re.split(r"[\r\n]+", written(terminal=True))
    plain = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line).rstrip() for line in lines]
    at = plain.index("a line of the log")
    assert any(re.fullmatch(r"  score \S+ +40/200 best 0.31", line) for line in plain[at + 1 :])
    assert CLEARED in written(terminal=True).rpartition("40/200")[2], "the bar goes when the stage is done"


def test_nothing_but_the_log_where_there_is_no_terminal() -> None:
    assert written(terminal=False) == "a line of the log\n"
