"""What a command prints while a flow runs, and when Prefect's server fails it."""

import logging
import socket
import time
from pathlib import Path

import httpx
import pytest
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, temporary_settings

from eyas.errors import EyasError
from flows import prefect_server
from flows.prefect_server import explained, is_news, require_prefect


def record(module: str, message: str) -> logging.LogRecord:
    return logging.LogRecord("prefect.flow_runs", logging.ERROR, f"/a/{module}.py", 1, message, None, None)


@pytest.mark.parametrize(
    ("module", "message", "wanted"),
    [
        ("flow_engine", "Finished in state Failed('Flow run encountered an exception')", False),
        ("flow_engine", "Running hook 'tell_ending' in response to entering state 'Failed'", False),
        ("task_engine", "Crash detected! Execution was aborted by an interrupt signal.", False),
        ("task_engine", "Task run failed with exception: 'x' - Retry 1/2 will start 2 second(s) from now", True),
        ("run_stage", "score | 40/200 best 0.31", True),
        ("pipeline", "nothing had changed: every stage was up to date", True),
    ],
)
def test_of_prefects_engine_only_that_it_tries_again_is_news(module: str, message: str, wanted: bool) -> None:
    assert is_news(record(module, message)) is wanted


def test_what_prefect_has_still_to_send_is_no_news() -> None:
    """It would stand below the last line of a run that was stopped."""
    for queue in (APILogWorker, EventsWorker):
        told = logging.LogRecord(queue.__name__, logging.WARNING, "/a/services.py", 1, "Still processing", None, None)
        assert not is_news(told)


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("[Errno 111] Connection refused"),
        httpx.ReadTimeout("timed out"),
        httpx.HTTPStatusError(
            "Server error '500 Internal Server Error' for url 'http://ann:hunter2secret@server:4200/api'\nResponse: x",
            request=httpx.Request("GET", "http://server"), response=httpx.Response(500),
        ),
    ],
    ids=["gone", "silent", "without its database"],
)  # fmt: skip
def test_a_server_that_fails_is_one_line(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefect_server, "ROOT", tmp_path)
    with pytest.raises(EyasError, match="Prefect's server failed") as told, explained():
        raise error
    assert "\n" not in str(told.value)
    assert "hunter2secret" not in str(told.value)


def test_its_log_knows_of_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / ".eyas" / "logs" / "prefect-temporary.log"
    log.parent.mkdir(parents=True)
    log.write_text("Traceback\nsqlite3.OperationalError: database or disk is full\n")
    monkeypatch.setattr(prefect_server, "ROOT", tmp_path)
    with pytest.raises(EyasError, match="database or disk is full, .* MB are free there"), explained():
        raise httpx.ReadTimeout("timed out")


def test_a_fault_of_ours_is_not_explained_away() -> None:
    with pytest.raises(KeyError), explained():
        raise KeyError("gone")


def test_a_server_that_takes_calls_and_does_not_answer_is_told_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/api"
        begin = time.monotonic()
        with temporary_settings({PREFECT_API_URL: address}), pytest.raises(EyasError, match="does not answer") as told:
            require_prefect()
        assert time.monotonic() - begin < 12
    assert "\n" not in str(told.value)
