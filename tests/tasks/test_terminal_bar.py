"""The bar on a terminal: below the log lines, gone when all is done, and absent where nobody looks."""

import io
import logging
import re

import pytest
from prefect.logging.configuration import DEFAULT_LOGGING_SETTINGS_PATH, load_logging_config
from prefect.logging.handlers import PrefectConsoleHandler
from rich.console import Console
from rich.theme import Theme

from tasks.terminal_bar import TerminalBar, _log_console

CLEARED = "\x1b[2K"


def written(*, terminal: bool) -> str:
    file = io.StringIO()
    theme = Theme(inherit=False)  # as Prefect makes its console: without the styles that rich's own bar names
    console = Console(file=file, force_terminal=terminal, width=100, theme=theme)
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


def test_it_takes_the_console_that_writes_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any other would let a line of the log run on behind the bar."""
    settings = load_logging_config(DEFAULT_LOGGING_SETTINGS_PATH)
    assert settings["root"]["handlers"] == ["console"]
    assert settings["handlers"]["console"]["class"].endswith(".PrefectConsoleHandler")
    handler = PrefectConsoleHandler()
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    assert _log_console() is handler.console


def test_nothing_but_the_log_where_there_is_no_terminal() -> None:
    assert written(terminal=False) == "a line of the log\n"
