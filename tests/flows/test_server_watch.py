"""A server that is gone ends the command; one that comes back, or never was well, does not."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from eyas.cli.interruption import Interruption
from flows import server_watch
from flows.server_watch import fault, watch_servers


class Lost(Interruption):
    """Notes what was lost instead of ending pytest."""

    def lose(self, message: str) -> None:
        self.lost = message


class Server:
    """Answers with the status that a test sets."""

    def __init__(self) -> None:
        self.status, self.asked, outer = 200, threading.Event(), self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(outer.status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                outer.asked.set()

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}/ready"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.close()


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lost]:
    handler = Lost(["eyas", "run"])
    monkeypatch.setattr(server_watch, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(Interruption, "current", classmethod(lambda _: handler))
    yield handler
    handler.stopped = handler.stopped or object()  # type: ignore[assignment]  # ends the thread


def wait(command: Lost, seconds: float) -> str | None:
    deadline = time.monotonic() + seconds
    while command.lost is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return command.lost


@pytest.mark.parametrize("status", [500, 503])
def test_a_server_without_its_database_is_lost(server: Server, command: Lost, status: int) -> None:
    watch_servers({"Prefect": server.address}, patience=0.3)
    assert server.asked.wait(20)
    assert wait(command, 0.5) is None
    server.status = status
    said = wait(command, 20)
    assert said == (
        f"Prefect is lost: it answers with status {status}, as without its database at {server.address}; "
        "what the stages made is kept"
    )


def test_a_server_that_ended_is_lost(command: Lost) -> None:
    server, other = Server(), Server()
    watch_servers({"MLflow": other.address, "Prefect": server.address}, patience=0.3)
    assert server.asked.wait(20)
    server.close()
    assert (wait(command, 20) or "").startswith("Prefect is lost: it does not answer (")
    other.close()


@pytest.mark.parametrize("status", [200, 401, 404])
def test_a_server_that_answers_is_well(server: Server, status: int) -> None:
    server.status = status
    assert fault(server.address) is None


def test_a_server_that_comes_back_in_time_is_not_lost(server: Server, command: Lost) -> None:
    watch_servers({"Prefect": server.address}, patience=5.0)
    assert server.asked.wait(20)
    server.status = 503
    time.sleep(0.5)
    server.status = 200
    assert wait(command, 6) is None


def test_a_server_that_never_was_well_is_left_to_its_client(server: Server, command: Lost) -> None:
    server.status = 503
    watch_servers({"Prefect": server.address}, patience=0.1)
    assert wait(command, 1) is None
