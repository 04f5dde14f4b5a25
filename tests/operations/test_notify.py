"""Notices: sent to a real HTTP receiver, tried again when it stumbles, silent about its address."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from eyas.errors import BadInputError, StorageError
from eyas.operations.notify import ATTEMPTS, Notice, send

NOTICE = Notice("failed", "pipeline", "stage score failed: no images", link="http://tracker/run/1")


class Receiver:
    """Answers with the given statuses in turn, then with the last one."""

    def __init__(self) -> None:
        self.statuses: list[int] = [200]
        self.bodies: list[dict[str, str]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                status = receiver.statuses.pop(0) if len(receiver.statuses) > 1 else receiver.statuses[0]
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/secret-token"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    thread = threading.Thread(target=receiver.server.serve_forever)
    thread.start()
    yield receiver
    receiver.server.shutdown()
    thread.join()
    receiver.server.server_close()


def call(address: str, style: str = "json", waits: list[float] | None = None) -> bool:
    sleep = (waits if waits is not None else []).append
    return send(NOTICE, variable="HOOK", style=style, environment={"HOOK": address}, sleep=sleep)  # type: ignore[arg-type]


def test_the_generic_form_holds_every_field(receiver: Receiver) -> None:
    assert call(receiver.address) is True
    assert receiver.bodies == [
        {
            "event": "failed",
            "flow": "pipeline",
            "message": "stage score failed: no images",
            "workspace": "default",
            "link": "http://tracker/run/1",
        }
    ]


def test_the_slack_form_is_one_text(receiver: Receiver) -> None:
    call(receiver.address, "slack")
    (body,) = receiver.bodies
    assert set(body) == {"text"}
    assert "no images" in body["text"]
    assert "failed" in body["text"]


def test_a_stumbling_receiver_is_tried_again_with_growing_waits(receiver: Receiver) -> None:
    receiver.statuses = [500, 429, 200]
    waits: list[float] = []
    assert call(receiver.address, waits=waits) is True
    assert len(receiver.bodies) == 3
    assert 1 <= waits[0] <= 2 <= waits[1] <= 4


def test_a_refusal_is_not_tried_again_and_hides_the_address(receiver: Receiver) -> None:
    receiver.statuses = [403]
    with pytest.raises(BadInputError, match="HTTP 403") as caught:
        call(receiver.address)
    assert len(receiver.bodies) == 1
    assert "secret-token" not in str(caught.value)


def test_giving_up_says_so_without_the_address(receiver: Receiver) -> None:
    receiver.statuses = [503]
    with pytest.raises(StorageError, match=f"{ATTEMPTS} attempts: HTTP 503") as caught:
        call(receiver.address)
    assert len(receiver.bodies) == ATTEMPTS
    assert "secret-token" not in str(caught.value)


def test_nobody_listening_is_an_error_that_names_the_variable() -> None:
    with pytest.raises(StorageError, match="HOOK"):
        call("http://127.0.0.1:9/secret-token")


def test_without_an_address_nothing_is_sent() -> None:
    assert send(NOTICE, variable="HOOK", environment={}) is False


def test_an_address_of_another_kind_is_refused() -> None:
    with pytest.raises(BadInputError, match="HOOK must start with https"):
        call("file:///etc/passwd")
