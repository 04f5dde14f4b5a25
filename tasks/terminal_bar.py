"""A stage's progress as one live line below the log, where there is a terminal."""

import logging
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn


class TerminalBar:
    """Shows nothing until something is done, and leaves nothing behind.

    Args:
        stage: stands before the bar.
        console: without one that of Prefect's log, so that log lines go above the bar instead of through it.
    """

    def __init__(self, stage: str, console: Console | None = None) -> None:
        console = console or _log_console()
        # Prefect's console knows no style of rich's own by name, so the bar names colours.
        bar = BarColumn(30, style="dim", complete_style="green", finished_style="green", pulse_style="green")
        count = TextColumn("{task.completed}/{task.total} {task.fields[text]}")
        columns = (TextColumn("  {task.description}"), bar, count)
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._progress.add_task(stage, total=None, visible=False, text="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self, done: int, total: int, text: str) -> None:
        """``done`` of ``total``; ``text`` says what matters now."""
        self._progress.update(self._task, completed=done, total=total, text=text, visible=done < total, refresh=True)


def _log_console() -> Console:
    """The console that Prefect writes the log with: it hangs on the root logger."""
    consoles = (getattr(handler, "console", None) for handler in logging.getLogger().handlers)
    return next((console for console in consoles if isinstance(console, Console)), None) or Console(stderr=True)
