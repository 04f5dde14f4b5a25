"""The coordinator's exchange over HTTP: what a site sends is taken once, everything else is refused in one line."""

import asyncio
import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
from starlette.types import ASGIApp
from torch import nn

from eyas.adaptation.sites.collection import collect
from eyas.adaptation.sites.coordinator import collected_images, merge_candidates
from eyas.adaptation.sites.exchange import FolderExchange
from eyas.adaptation.sites.network_digest import network_digest
from eyas.adaptation.sites.site_losses import judge
from eyas.adaptation.sites.site_message import MAX_BYTES
from eyas.adaptation.sites.site_statistics import SiteStatistics
from eyas.errors import BadInputError, StorageError
from eyas.operations.servers import http_exchange
from eyas.operations.servers.http_exchange import HttpExchange
from eyas.operations.servers.site_server import create_site_server
from eyas.operations.signing import (
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    ReplayGuard,
    SignatureError,
    as_answer,
    sign,
    verify,
)
from eyas.storage.retry import Retry
from tests.adaptation.sites.conftest import network

SECRET, OTHER = b"a secret of twenty-four b", b"another secret of length"
NOW = 1_800_000_000


@pytest.fixture
def net() -> nn.Module:
    return network()


@pytest.fixture
def told(net: nn.Module) -> SiteStatistics:
    return collect(net, net[0].weight.new_ones(4, 3, 8, 8).cumsum(0), "north")


@pytest.fixture
def folder(tmp_path: Path) -> FolderExchange:
    return FolderExchange(tmp_path / "exchange")


@pytest.fixture
def app(net: nn.Module, folder: FolderExchange, tmp_path: Path) -> ASGIApp:
    return create_site_server(SECRET, folder, [net], ReplayGuard(tmp_path / "seen.json"), clock=lambda: NOW)


def call(app: ASGIApp, route: str, body: bytes, secret: bytes = SECRET, at: int = NOW) -> httpx.Response:
    headers = {TIMESTAMP_HEADER: str(at), SIGNATURE_HEADER: sign(secret, at, body)}

    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://here") as client:
            return await client.post(route, content=body, headers=headers)

    return asyncio.run(send())


def asked(network: str, nonce: str = "0123456789abcdef" * 2) -> bytes:
    return json.dumps({"network": network, "nonce": nonce}).encode()


def test_a_message_that_was_signed_before_the_one_in_place_is_refused(
    app: ASGIApp, net: nn.Module, folder: FolderExchange, told: SiteStatistics, tmp_path: Path
) -> None:
    more = collect(net, net[0].weight.new_ones(9, 3, 8, 8).cumsum(0), "north")
    assert call(app, "/messages", more.encode(), at=NOW + 10).status_code == 202
    again = create_site_server(SECRET, folder, [net], ReplayGuard(tmp_path / "seen.json"), clock=lambda: NOW + 250)
    for server in (app, again):  # one that was started anew, too
        held_back = call(server, "/messages", told.encode(), at=NOW + 1)
        assert held_back.status_code == 409
        expected = "newer statistics of north are here: these were signed 9 s before what was accepted last"
        assert held_back.json()["error"].startswith(expected)
    assert collected_images(folder, [net]) == {"north": 9}
    south = SiteStatistics(told.network, "south", 4, told.layers)
    assert call(app, "/messages", south.encode(), at=NOW + 1).status_code == 202  # of another site
    assert call(app, "/messages", told.encode(), at=NOW + 11).status_code == 202
    assert collected_images(folder, [net]) == {"north": 4, "south": 4}


def test_merged_statistics_are_an_answer_to_their_request_alone(
    app: ASGIApp, net: nn.Module, folder: FolderExchange, told: SiteStatistics, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.put(told.encode())
    merge_candidates(folder, [net])
    request = asked(told.network)
    old = call(app, "/merged", request)
    headers = dict(old.headers)
    verify(SECRET, headers, as_answer(request, old.content), now=NOW)
    for body in (old.content, as_answer(asked(told.network, "f" * 32), old.content)):
        with pytest.raises(SignatureError, match="wrong signature"):
            verify(SECRET, headers, body, now=NOW)
    server = Asgi(app)
    monkeypatch.setattr(http_exchange.requests, "post", server)
    site = HttpExchange("http://here/", SECRET, clock=lambda: NOW)
    assert site.merged(told.network) == old.content
    monkeypatch.setattr(http_exchange.requests, "post", Replayed(old))
    with pytest.raises(SignatureError, match="http://here/ did not answer this request: wrong signature") as refused:
        site.merged(told.network)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("nonce", [None, "", "0" * 31, "g" * 32, 7])
def test_a_site_that_sends_no_nonce_is_told_why_it_gets_nothing(
    app: ASGIApp, told: SiteStatistics, nonce: object
) -> None:
    body = {"network": told.network} if nonce is None else {"network": told.network, "nonce": nonce}
    answer = call(app, "/merged", json.dumps(body).encode())
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(
        "the request has no nonce of 32 hex digits or more: is the site's eyas older"
    )


def test_a_message_is_taken_once(app: ASGIApp, folder: FolderExchange, told: SiteStatistics) -> None:
    assert call(app, "/messages", told.encode()).status_code == 202
    (path,) = folder.messages("statistics", told.network).values()
    content = folder.read(path)
    assert content == told.encode()
    again = call(app, "/messages", told.encode())
    assert (again.status_code, again.json()) == (401, {"error": "replayed: this signature was accepted before"})
    assert call(app, "/messages", told.encode(), at=NOW + 1).status_code == 202  # sent anew


@pytest.mark.parametrize(
    ("spoil", "status", "message"),
    [
        (lambda _: {"body": b"no message"}, 400, "this is no message of a site"),
        (lambda _: {"body": bytes(MAX_BYTES + 1)}, 413, "the body is larger than 16777216 bytes"),
        (lambda told: {"body": told.encode(), "secret": OTHER}, 401, "wrong signature"),
        (lambda told: {"body": told.encode(), "at": NOW - 301}, 401, "sent +301 s from now"),
        (lambda told: {"body": told.encode().replace(b'\\"site\\"', b'\\"sity\\"')}, 400, "in its header"),
        (lambda told: {"body": told.encode().replace(b"north", b"north\xff")}, 400, "this is no message of a site"),
    ],
)
def test_what_is_faulty_is_refused_and_not_left(
    app: ASGIApp, folder: FolderExchange, told: SiteStatistics, spoil: Callable, status: int, message: str
) -> None:
    answer = call(app, "/messages", **spoil(told))
    assert answer.status_code == status
    assert message in answer.json()["error"]
    assert "\n" not in answer.json()["error"]
    assert not folder.folder.exists()


def test_networks_and_names_that_are_not_known_are_refused(app: ASGIApp, net: nn.Module, told: SiteStatistics) -> None:
    images = net[0].weight.new_ones(4, 3, 8, 8).cumsum(0)
    other = collect(network(seed=1), images, "north")
    assert call(app, "/messages", other.encode()).status_code == 404
    assert call(app, "/messages", collect(net, images, "coordinator").encode()).status_code == 400
    merged = SiteStatistics(told.network, "north", 4, told.layers, "merged")
    assert "statistics are expected" in call(app, "/messages", merged.encode()).json()["error"]
    losses = judge(net, images, images[:, 0, 0, 0].long() % 4, "north", told)
    assert "no merged statistics" in call(app, "/messages", losses.encode()).json()["error"]
    assert call(app, "/merged", asked(told.network)).status_code == 404
    assert call(app, "/merged", b"[]").status_code == 400


class Asgi:
    """``requests.post`` that a coordinator in this process answers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.spoil: Callable[[bytes], bytes] = lambda content: content

    def __call__(self, url: str, body: bytes, headers: dict[str, str], **_: object) -> "Asgi":
        async def send() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app=self.app)) as client:
                return await client.post(url, content=body, headers=headers)

        answer = asyncio.run(send())
        self.status_code, self.headers, self.content = answer.status_code, answer.headers, answer.content
        return self

    def __enter__(self) -> "Asgi":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @property
    def raw(self) -> "Asgi":
        return self

    def read(self, size: int, *, decode_content: bool) -> bytes:
        del decode_content
        return self.spoil(self.content)[:size]


class Replayed(Asgi):
    """Answers with what was answered before."""

    def __init__(self, old: httpx.Response) -> None:
        self.status_code, self.headers, self.content = old.status_code, old.headers, old.content
        self.spoil = lambda content: content

    def __call__(self, *_: object, **__: object) -> "Replayed":
        return self


def test_sites_and_coordinator_by_http_come_to_what_they_do_in_one_folder(
    app: ASGIApp, net: nn.Module, folder: FolderExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Asgi(app)
    monkeypatch.setattr(http_exchange.requests, "post", server)
    images = net[0].weight.new_ones(9, 3, 8, 8).cumsum(0)
    site = HttpExchange("http://here/", SECRET, clock=lambda: NOW)
    digest = network_digest(net)
    assert site.merged(digest) is None
    for name, part in zip(("north", "south"), images.split([3, 6]), strict=True):
        site.put(collect(net, part, name).encode())
    assert merge_candidates(folder, [net]) == [{"north": 3, "south": 6}]
    content = site.merged(digest)
    assert content == folder.merged(digest)
    merged = SiteStatistics.decode(content, net, "merged")
    site.put(judge(net, images[:3], images[:3, 0, 0, 0].long() % 4, "north", merged).encode())
    assert len(list(folder.messages("losses", digest))) == 1
    with pytest.raises(BadInputError, match="http://here/ refused the message: replayed"):
        site.put(collect(net, images[:3], "north").encode())
    with pytest.raises(BadInputError, match="wrong signature"):
        HttpExchange("http://here", OTHER, clock=lambda: NOW).merged(digest)
    server.spoil = lambda content: content + b" "
    with pytest.raises(SignatureError, match="wrong signature"):
        site.merged(digest)
    server.spoil = lambda content: content + bytes(MAX_BYTES)
    with pytest.raises(BadInputError, match="answers with more than 16,777,216 bytes"):
        site.merged(digest)


def test_a_coordinator_that_is_not_there_is_named() -> None:
    retry = Retry(2, base=0.0, sleep=lambda _: None)
    with pytest.raises(StorageError, match="http://127.0.0.1:9: ConnectionError"):
        HttpExchange("http://127.0.0.1:9", SECRET, retry).put(b"message")


def test_an_answer_that_is_cut_off_is_tried_again_and_named() -> None:
    asked: list[bool] = []

    class Short(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(True)
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"half")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Short) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        retry = Retry(2, base=0.0, sleep=lambda _: None)
        with pytest.raises(StorageError, match="ProtocolError|IncompleteRead"):
            HttpExchange(f"http://127.0.0.1:{server.server_port}", SECRET, retry).put(b"message")
        server.shutdown()
    assert len(asked) == 2
