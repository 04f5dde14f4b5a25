"""What a terminal shows of a run: live below, a line per finished step, nothing but lines where nobody looks."""

import io
import logging
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from eyas.cli import run_view
from eyas.cli.run_view import KEPT_LOGS, RunView, step
from eyas.cli.time_left import TimeLeft


def plain(text: str) -> list[str]:
    lines = (re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line).rstrip() for line in re.split(r"[\r\n]+", text))
    return [line for line in lines if line]


def watched(tmp_path: Path, *, terminal: bool = False, quiet: bool = False) -> tuple[RunView, io.StringIO]:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=100, highlight=False)
    return RunView(tmp_path / "run-1.log", console, quiet=quiet), file


def run(view: RunView) -> None:
    with view:
        with step("fetch") as shown:
            shown.skipped = "unchanged"
            shown.note = "40 images"
        with step("score") as shown:
            shown.update(40, 200, "best 0.31")
            view.warn("little signal [in] it")
            view.warn("little signal [in] it")
            shown.note = "best 0.42"


def test_every_step_leaves_one_line_and_no_bar(tmp_path: Path) -> None:
    view, file = watched(tmp_path, terminal=True)
    run(view)
    lines = plain(file.getvalue())
    bars = [number for number, line in enumerate(lines) if "best 0.31" in line]
    assert bars, "the bar was seen"
    assert lines[-1] == "score     ✓     0.0 s  best 0.42"
    assert bars[-1] < len(lines) - 1
    assert [line for line in lines if line.startswith("fetch  ")] == ["fetch     – unchanged  40 images"]
    assert "\x1b[?25h" in file.getvalue().rpartition("best 0.42")[2], "the cursor is back"


def test_without_a_terminal_there_are_lines_alone(tmp_path: Path) -> None:
    view, file = watched(tmp_path)
    run(view)
    assert file.getvalue().splitlines() == [
        "fetch     – unchanged  40 images",
        "warning: little signal [in] it",
        "score     ✓     0.0 s  best 0.42",
    ]


def test_without_a_terminal_a_long_step_says_now_and_then_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_view, "SECONDS_BETWEEN_LINES", 0.0)
    view, file = watched(tmp_path)
    run(view)
    assert "score     40/200 best 0.31" in file.getvalue().splitlines()


def test_quiet_leaves_warnings(tmp_path: Path) -> None:
    view, file = watched(tmp_path, quiet=True)
    run(view)
    assert file.getvalue() == "warning: little signal [in] it\n"


def test_a_failed_step_says_so(tmp_path: Path) -> None:
    view, file = watched(tmp_path)
    with pytest.raises(ValueError, match="broken"), view, step("score"):
        raise ValueError("broken")
    assert file.getvalue() == "score     ✗     0.0 s\n"


def test_a_step_that_the_user_stopped_is_none_that_failed(tmp_path: Path) -> None:
    view, file = watched(tmp_path)
    with pytest.raises(KeyboardInterrupt), view, step("score"):
        raise KeyboardInterrupt
    assert not file.getvalue()


def test_a_terminal_without_unicode_gets_words(tmp_path: Path) -> None:
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, encoding="ascii", write_through=True), width=100)
    run(RunView(tmp_path / "run-1.log", console))
    assert b"score     ok     0.0 s  best 0.42" in raw.getvalue()


def test_steps_of_a_process_that_nobody_watches_are_silent() -> None:
    with step("score") as shown:
        shown.update(1, 2, "best 0.31")
    assert RunView.current() is None


def test_the_log_goes_to_its_file_and_warnings_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_terminal = logging.StreamHandler(io.StringIO())
    on_terminal.console = None  # type: ignore[attr-defined]
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [on_terminal])
    for number in range(KEPT_LOGS + 5):
        (tmp_path / f"run-{number:03}.log").touch()
    (tmp_path / "server.log").touch()
    view, file = watched(tmp_path)
    view.take_log(lambda record: record.module != "chatter")
    logging.getLogger("eyas").warning("few images")
    logging.getLogger("eyas").error("worse")
    logging.getLogger("somewhere").warning("deprecated")
    known = {"name": "eyas", "levelno": logging.WARNING, "levelname": "WARNING", "module": "chatter", "msg": "known"}
    logging.getLogger("eyas").handle(logging.makeLogRecord(known))
    for handler in root.handlers:
        handler.close()
    assert file.getvalue() == "warning: few images\nwarning: worse\n"
    assert [line.split(maxsplit=3)[-1] for line in view.log.read_text().splitlines()] == [
        *("few images", "worse", "deprecated", "known"),
    ]
    assert not on_terminal.stream.getvalue()
    assert len([*tmp_path.glob("run-*.log")]) == KEPT_LOGS
    assert (tmp_path / "server.log").exists()


def test_one_time_is_told_beside_a_bar(tmp_path: Path) -> None:
    view, file = watched(tmp_path, terminal=True)
    with view, step("score") as shown:
        shown.update(100, 200, "2.0/s, 50 s left")
    assert not re.search(r"\d:\d\d:\d\d", file.getvalue())
    column, task = TimeLeft(), SimpleNamespace(id=1, fields={"text": "loss 2.3"}, time_remaining=None, finished=False)
    assert column.render(task).plain == ""
    task.time_remaining, task.total, task.elapsed = 100.0, 200, 1.0
    assert column.render(task).plain == "0:01:40 left"
    task.fields["text"] = "2.0/s, 50 s left"
    assert column.render(task).plain == ""
