"""The webhook's own process under calls that never end: few descriptors, few lines, and signed calls are answered."""

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from eyas.operations.servers import bounded_http
from eyas.operations.servers.bounded_http import HEADER_BYTES, LINES_A_MINUTE, SECONDS, LineLimit
from eyas.operations.signing import SIGNATURE_HEADER, TIMESTAMP_HEADER, sign

SECRET = b"a secret of twenty-four b"
DESCRIPTORS = 100
HALF = b"POST /retrain HTTP/1.1\r\nHost: here\r\n"
HALF_BODY = HALF + b"Content-Length: 1000\r\n\r\n{"


def few_descriptors() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """A webhook in a process with few descriptors; its log is ``log`` in ``tmp_path``."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "eyas.operations.servers.webhook", str(port), "params.yaml"],
            cwd=tmp_path,
            env={**os.environ, "EYAS_WEBHOOK_SECRET": SECRET.decode()},
            stdout=log,
            stderr=log,
            preexec_fn=few_descriptors,
        )
        try:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                with suppress(httpx.TransportError):
                    httpx.get(f"http://127.0.0.1:{port}/health")
                    break
                time.sleep(0.1)
            yield port
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def connect(port: int, start: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(start)
    return connection


def ask(port: int, *, secret: bytes = SECRET, body: bytes = b"[]") -> int:
    """The status of a signed call, which is refused as 400 before anything is started: ``[]`` asks for nothing."""
    at = int(time.time())
    headers = {TIMESTAMP_HEADER: str(at), SIGNATURE_HEADER: sign(secret, at, body)}
    return httpx.post(f"http://127.0.0.1:{port}/retrain", content=body, headers=headers, timeout=20).status_code


def test_half_sent_calls_neither_stop_it_nor_fill_its_log(port: int, tmp_path: Path) -> None:
    began = time.monotonic()
    with ExitStack() as stack:
        flood = [stack.enter_context(connect(port, (HALF, HALF_BODY)[at % 2])) for at in range(4 * DESCRIPTORS)]
        for _ in range(5):  # while they go on, a byte at a time
            for connection in flood[-20:]:
                with suppress(OSError):
                    connection.sendall(b"x")
            assert ask(port) == 400
        assert ask(port, secret=b"another secret of length") == 401
    assert ask(port) == 400
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log
    assert "out of system resource" not in log
    minutes = int((time.monotonic() - began) // 60) + 2  # that the clock touched
    assert len(log.splitlines()) <= LINES_A_MINUTE * minutes


def test_a_connection_ends_however_it_is_spent(port: int) -> None:
    began = time.monotonic()
    with ExitStack() as stack:
        held = [stack.enter_context(connect(port, start)) for start in (b"", HALF, HALF_BODY)]
        for connection in held:
            with suppress(OSError):
                while connection.recv(100):
                    pass
    assert time.monotonic() - began < SECONDS + 5


def test_a_header_without_end_is_refused(port: int) -> None:
    with connect(port, HALF) as connection:
        with suppress(OSError):
            connection.sendall(b"A: " + b"x" * 4 * HEADER_BYTES)
        answer = b""
        with suppress(OSError):
            answer = connection.recv(100)
    assert answer.startswith(b"HTTP/1.1 400") or not answer
    assert ask(port) == 400


def test_every_answer_ends_its_connection(port: int) -> None:
    assert httpx.get(f"http://127.0.0.1:{port}/health").headers["connection"] == "close"


def test_lines_that_are_kept_back_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    import logging

    now = 60.0
    monkeypatch.setattr(bounded_http.time, "monotonic", lambda: now)
    limit = LineLimit(3)
    records = [logging.LogRecord("x", logging.WARNING, "", 0, "line %d", (at,), None) for at in range(6)]
    assert [limit.filter(record) for record in records[:5]] == [True, True, True, False, False]
    now = 120.0
    assert limit.filter(records[5])
    assert records[5].getMessage() == "line 5 (2 lines were left out before)"
