"""The retraining endpoint: a signed call starts one, anything else is refused and logged without the secret."""

import json
import logging
from pathlib import Path

import httpx
import pytest
from starlette.types import ASGIApp

from eyas.signing import SIGNATURE_HEADER, TIMESTAMP_HEADER, ReplayGuard, sign
from flows.webhook import MAX_BODY_BYTES, create_app

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


def call(app: ASGIApp, body: bytes, *, secret: bytes = SECRET, at: int = NOW, method: str = "POST") -> httpx.Response:
    import asyncio

    headers = {TIMESTAMP_HEADER: str(at), SIGNATURE_HEADER: sign(secret, at, body)}

    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://here") as client:
            return await client.request(method, "/retrain", content=body, headers=headers)

    return asyncio.run(send())


def test_a_signed_call_starts_a_retraining(app: ASGIApp, starter: Starter) -> None:
    answer = call(app, json.dumps({"reason": "new\n data", "params": "configs/a.yaml"}).encode())
    assert (answer.status_code, answer.json()) == (202, {"started": 4711, "params": "configs/a.yaml"})
    assert starter.calls == [("configs/a.yaml", "new data")]


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


def test_a_second_call_while_one_runs_is_told_so(app: ASGIApp, starter: Starter) -> None:
    starter.busy = True
    assert call(app, b"{}").status_code == 409
