"""The retraining endpoint: a signed call starts one, anything else is refused and logged without the secret."""

import json
import logging
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from eyas.cli import main
from eyas.operations.servers.webhook import MAX_BODY_BYTES, Retrainer, create_app
from eyas.operations.signing import SIGNATURE_HEADER, TIMESTAMP_HEADER, ReplayGuard, sign
from flows import commands

SECRET = b"a secret of twenty-four b"
NOW = 1_800_000_000


class Starter:
    """Stands in for the process: remembers what was asked for."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.busy = False

    def __call__(self, params_file: str, reason: str) -> int | None:
        if self.busy:
            return None
        self.calls.append((params_file, reason))
        return 4711


@pytest.fixture
def starter() -> Starter:
    return Starter()


@pytest.fixture
def app(starter: Starter, tmp_path: Path) -> ASGIApp:
    guard = ReplayGuard(tmp_path / "seen.json")
    return create_app(SECRET, ["params.yaml", "configs/a.yaml"], starter, guard, clock=lambda: NOW)


def call(
    app: ASGIApp, body: bytes, *, secret: bytes = SECRET, at: int = NOW, method: str = "POST", path: str = "/retrain"
) -> httpx.Response:
    import asyncio

    headers = {TIMESTAMP_HEADER: str(at), SIGNATURE_HEADER: sign(secret, at, body)}

    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://here") as client:
            return await client.request(method, path, content=body, headers=headers)

    return asyncio.run(send())


def test_a_signed_call_starts_a_retraining(app: ASGIApp, starter: Starter) -> None:
    answer = call(app, json.dumps({"reason": "new\n data", "params": "configs/a.yaml"}).encode())
    assert (answer.status_code, answer.json()) == (202, {"started": 4711, "params": "configs/a.yaml"})
    assert starter.calls == [("configs/a.yaml", "new data")]


@pytest.mark.usefixtures("kept_process")
def test_whatever_the_reason_says_is_a_reason_to_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    asked: list[tuple[str, bool]] = []

    def retrain(_params: Path, _overrides: object, _name: object, reason: str, *, force: bool, as_json: bool) -> int:
        asked.append((reason, force))
        return 0

    class Process(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, command: list[str], **options: Any) -> None:
            started.append(command)
            super().__init__([sys.executable, "-c", "", *command], **options)

    retrainer = Retrainer(tmp_path)
    monkeypatch.setattr("eyas.operations.servers.webhook.subprocess.Popen", Process)
    monkeypatch.setattr(commands, "retrain", retrain)
    app = create_app(SECRET, ["params.yaml"], retrainer, ReplayGuard(tmp_path / "seen.json"), clock=lambda: NOW)
    for reason, expected in [("--force", "--force"), ("a\0b\x1b[1m\ud800c", "a b [1m c")]:
        assert call(app, json.dumps({"reason": reason}).encode()).status_code == 202
        assert retrainer.running is not None
        assert retrainer.running.wait(30) == 0
        assert main(started[-1][3:]) == 0
        assert asked[-1] == (expected, False)


def test_what_is_signed_for_one_path_starts_nothing_at_another(starter: Starter, tmp_path: Path) -> None:
    adapting, guard = Starter(), ReplayGuard(tmp_path / "seen.json")
    app = create_app(SECRET, ["params.yaml"], starter, guard, clock=lambda: NOW, adapt=adapting)
    body = b'{"command": "adapt", "reason": "a new lens"}'
    answer = call(app, body)
    assert (answer.status_code, "this path starts `retrain`" in answer.json()["error"]) == (400, True)
    assert call(app, b"{}", path="/adapt").status_code == 400
    assert call(app, body, path="/adapt").status_code == 202
    assert (starter.calls, adapting.calls) == ([], [("params.yaml", "a new lens")])
    adapting.busy = True
    answer = call(app, body, at=NOW - 1, path="/adapt")
    assert (answer.status_code, answer.json()["error"]) == (
        409,
        "an adaptation still runs: call again when it has ended",
    )


def test_without_an_adaptation_there_is_no_such_path(app: ASGIApp) -> None:
    assert call(app, b'{"command": "adapt"}', path="/adapt").status_code == 404


def test_an_empty_body_takes_the_first_file(app: ASGIApp, starter: Starter) -> None:
    assert call(app, b"").status_code == 202
    assert starter.calls == [("params.yaml", "webhook")]


@pytest.mark.parametrize(
    ("body", "options", "status"),
    [
        (b"{}", {"secret": b"another secret of length"}, 401),
        (b"{}", {"at": NOW - 1000}, 401),
        (b"x" * (MAX_BODY_BYTES + 1), {}, 413),
        (b"not json", {}, 400),
        (b"[]", {}, 400),
        (b'{"shell": "rm"}', {}, 400),
        (b"[" * 16_000, {}, 400),
        (b'{"reason": null}', {}, 400),
        (b'{"params": ["params.yaml"]}', {}, 400),
        (b'{"params": "/etc/passwd"}', {}, 403),
        (b"{}", {"method": "GET"}, 405),
    ],
)
def test_anything_else_is_refused_and_starts_nothing(
    app: ASGIApp, starter: Starter, caplog: pytest.LogCaptureFixture, body: bytes, options: dict, status: int
) -> None:
    caplog.set_level(logging.DEBUG)
    answer = call(app, body, **options)
    assert answer.status_code == status
    assert starter.calls == []
    assert SECRET.decode() not in caplog.text + answer.text
    if status != 405:
        assert f"refused ({status})" in caplog.text


def test_a_replayed_call_is_refused(app: ASGIApp, starter: Starter) -> None:
    assert call(app, b"{}").status_code == 202
    answer = call(app, b"{}")
    assert answer.status_code == 401
    assert "replayed" in answer.json()["error"]
    assert len(starter.calls) == 1


def test_a_call_while_one_runs_is_told_so_and_may_be_sent_again(app: ASGIApp, starter: Starter) -> None:
    starter.busy = True
    assert call(app, b"{}").status_code == 409
    starter.busy = False
    assert call(app, b"{}").status_code == 202
    assert call(app, b"{}").status_code == 401
    assert len(starter.calls) == 1


def test_one_call_that_comes_twice_at_once_starts_one_retraining(tmp_path: Path) -> None:
    """Two servers on one checkout: each has a guard of its own, on the same file."""
    started: list[str] = []
    together = threading.Barrier(2, timeout=20)

    def start(params_file: str, reason: str) -> int:
        time.sleep(0.2)
        started.append(params_file)
        return 4711

    def send(_: int) -> int:
        app = create_app(SECRET, ["params.yaml"], start, ReplayGuard(tmp_path / "seen.json"), clock=lambda: NOW)
        together.wait()
        return call(app, b"{}").status_code

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(send, range(2))) == [202, 401]
    assert len(started) == 1


def test_a_lost_memory_is_no_failure_for_ever(app: ASGIApp, starter: Starter, tmp_path: Path) -> None:
    (tmp_path / "seen.json").write_text("{")
    answer = call(app, b"{}")
    assert answer.status_code == 401
    assert "cannot tell whether" in answer.json()["error"]
    later = create_app(SECRET, ["params.yaml"], starter, ReplayGuard(tmp_path / "seen.json"), clock=lambda: NOW + 301)
    assert call(later, b"{}", at=NOW + 301).status_code == 202


def test_where_nothing_can_be_remembered_nothing_is_started(
    starter: Starter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    app = create_app(SECRET, ["params.yaml"], starter, ReplayGuard(tmp_path / "file" / "seen.json"), clock=lambda: NOW)
    answer = call(app, b"{}")
    assert (answer.status_code, starter.calls) == (503, [])
    assert "nothing was started" in caplog.text
    assert str(tmp_path) not in answer.text
