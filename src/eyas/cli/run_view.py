"""What a person sees of a run: a line per step, the one at work as a live bar, warnings, and where the log lies."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from eyas.cli.terminal import console_width, wrapped

if TYPE_CHECKING:
    from rich.console import Console

NAME_WIDTH = 9
NOTE_INDENT = NAME_WIDTH + 14
"""Where the note of a step begins, and goes on where it takes several lines."""
BAR_WIDTH, LEAST_BAR_WIDTH, BESIDE_BAR = 24, 6, 74
"""Columns of a bar, and what stands beside it: a narrow terminal has a shorter one."""
SECONDS_BETWEEN_LINES = 30.0
"""Where there is no terminal, and so no bar."""
KEPT_LOGS = 20
"""Logs of earlier runs that stay."""
_FORMAT = "%(asctime)s %(levelname)-7s %(message)s"


class Step:
    """One step of a run, such as a stage; does nothing where nobody looks."""

    note = ""
    """What came out, in a few words."""
    skipped = ""
    """Why nothing was done, in a word; empty where something was."""

    def update(self, done: int, total: int, text: str) -> None:
        """``done`` of ``total``; ``text`` says what matters now."""


class _ShownStep(Step):
    def __init__(self, view: "RunView", name: str) -> None:
        self._view, self._name, self._told = view, name, time.monotonic()
        self._task = view.progress.add_task(name, total=None, text="")

    def update(self, done: int, total: int, text: str) -> None:
        self._view.progress.update(self._task, completed=done, total=total, text=text, refresh=True)
        now = time.monotonic()
        if not self._view.console.is_terminal and now - self._told >= SECONDS_BETWEEN_LINES:
            self._told = now
            self._view.show(f"{self._name:<{NAME_WIDTH}} {done}/{total} {text}".rstrip())

    def close(self) -> None:
        """Leave no bar behind."""
        self._view.progress.remove_task(self._task)
        self._view.progress.refresh()


class RunView:
    """Shows the steps of the command that runs in this process; :meth:`current` has it for whoever takes one.

    Args:
        log: where everything that is logged goes.
        console: where the steps go; without one the standard error output.
        verbose: show all that is logged, too.
        quiet: show warnings and errors alone.
    """

    _current: ClassVar["RunView | None"] = None

    def __init__(
        self, log: Path, console: "Console | None" = None, *, verbose: bool = False, quiet: bool = False
    ) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
        from rich.table import Column

        from eyas.cli.time_left import TimeLeft

        self.log, self.verbose, self.quiet = log, verbose, quiet
        self.console = console or Console(stderr=True, highlight=False)
        self.warnings: list[str] = []
        plain = not self.console.encoding.startswith("utf")
        done, failed, skipped = ("ok", "failed", "-") if plain else ("✓", "✗", "–")
        self._signs = {"done": done, "failed": failed, "skipped": skipped}
        columns = (
            SpinnerColumn("line" if plain else "dots"), TextColumn("{task.description:<" + str(NAME_WIDTH) + "}"),
            BarColumn(max(LEAST_BAR_WIDTH, min(BAR_WIDTH, self.console.width - BESIDE_BAR))),
            TextColumn("{task.fields[text]}"), TimeLeft(table_column=Column(no_wrap=True)),
        )  # fmt: skip
        live = self.console.is_terminal and not quiet
        self.progress = Progress(*columns, console=self.console, transient=True, disable=not live)

    @classmethod
    def current(cls) -> "RunView | None":
        """The one of this process; None in a worker's process or a test."""
        return cls._current

    def __enter__(self) -> Self:
        RunView._current = self
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()
        RunView._current = None

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Show a step while it is taken, and a line when it is done."""
        shown, start, sign = _ShownStep(self, name), time.monotonic(), "failed"
        try:
            yield shown
            sign = "skipped" if shown.skipped else "done"
        except KeyboardInterrupt:
            sign = ""  # whoever stopped the command needs no line about it
            raise
        finally:
            shown.close()
            if sign:
                self._line(name, sign, time.monotonic() - start, shown)

    def _line(self, name: str, sign: str, seconds: float, step: Step) -> None:
        style = {"done": "green", "failed": "bold red", "skipped": "dim"}[sign]
        took, head = step.skipped or f"{seconds:.1f} s", f"{name:<{NAME_WIDTH}} "
        text = f"{head}{self._signs[sign]} {took:>9}  {step.note}".rstrip()
        span = (0, None) if sign == "skipped" else (len(head), len(head) + len(self._signs[sign]))
        if not self.quiet:
            self._print(text, style, NOTE_INDENT, span)

    def warn(self, message: str) -> None:
        """Show a warning, once however often it comes."""
        if message not in self.warnings:
            self.warnings.append(message)
            self._print(f"warning: {message}", "yellow")

    @property
    def scrolled_away(self) -> list[str]:
        """Warnings that whoever looks at the end no longer sees: on a terminal they stand a few lines above it."""
        return self.warnings if self.verbose or not self.console.is_terminal else []

    def show(self, text: str, style: str = "") -> None:
        """A line above the live one, unless the user asked for quiet."""
        if not self.quiet:
            self._print(text, style)

    def _print(self, text: str, style: str, indent: int = 2, span: tuple[int, int | None] = (0, None)) -> None:
        from rich.text import Text

        shown = Text(wrapped(text, console_width(self.console), indent))
        shown.stylize(style, *span)
        self.console.print(shown, soft_wrap=True)

    def take_log(self, is_news: Callable[[logging.LogRecord], bool] = lambda _: True) -> None:
        """From here on what is logged goes to the file instead of the terminal, and warnings that are news to both."""
        root = logging.getLogger()
        for handler in [*root.handlers]:
            if hasattr(handler, "console") and not self.verbose:
                root.removeHandler(handler)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        file = logging.FileHandler(self.log)
        file.setFormatter(logging.Formatter(_FORMAT))
        root.addHandler(file)
        warnings = _Warnings(self)
        warnings.addFilter(is_news)
        root.addHandler(warnings)
        for old in sorted(self.log.parent.glob(f"{self.log.name.split('-')[0]}-*{self.log.suffix}"))[:-KEPT_LOGS]:
            old.unlink(missing_ok=True)


class _Warnings(logging.Handler):
    """Shows warnings; not those of libraries, which go to the log alone."""

    OWN = ("eyas", "tasks", "flows", "prefect.flow_runs", "prefect.task_runs")

    def __init__(self, view: RunView) -> None:
        super().__init__(logging.WARNING)
        self._view = view

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(self.OWN):
            self._view.warn(record.getMessage())


@contextmanager
def step(name: str) -> Iterator[Step]:
    """A step of the run that is shown in this process; of none where nobody looks."""
    view = RunView.current()
    if view is None:
        yield Step()
        return
    with view.step(name) as shown:
        yield shown
