"""Real peers on the wire for tests: an S3 service, a web server with ranges, and a proxy that injects faults.

The S3 service is moto in server mode, or whatever ``EYAS_TEST_S3_ENDPOINT`` names (credentials then come from the
environment as usual). The proxy forwards the ``Host`` header as it came, so that signatures stay valid.
"""

import hashlib
import http.client
import os
import re
import socket
import struct
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

Match = Callable[["Request"], bool]


@dataclass(frozen=True)
class Request:
    """What the client sent."""

    method: str
    path: str
    headers: dict[str, str]
    size: int


@dataclass
class Fault:
    """Something that happens to the next ``times`` requests that match."""

    act: str
    """status, cut, truncate, corrupt, lose_answer, stall"""
    match: Match = lambda request: True
    times: int = 1
    status: int = 500
    code: str = "InternalError"
    after: int = 1000
    """Bytes of the body that still pass."""
    headers: dict[str, str] = field(default_factory=dict)
    hits: int = 0


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def drop(self) -> None:
        """End the connection with a reset."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.wfile.close()
        self.connection.close()

    def answer(self, status: int, headers: dict[str, str], body: bytes, length: int | None = None) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def _serving(handler: type[_Handler]) -> Iterator[str]:
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class FaultProxy:
    """Forwards requests to ``upstream`` and does what its faults say; remembers every request."""

    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream)
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.lock = threading.Lock()

    def add(self, act: str, **options: object) -> Fault:
        fault = Fault(act, **options)  # type: ignore[arg-type]
        self.faults.append(fault)
        return fault

    def pick(self, request: Request) -> Fault | None:
        with self.lock:
            self.requests.append(request)
            for fault in self.faults:
                if fault.times and fault.match(request):
                    fault.times -= 1
                    fault.hits += 1
                    return fault
        return None

    def count(self, match: Match) -> int:
        return sum(match(request) for request in self.requests)

    def forward(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        kind = http.client.HTTPSConnection if self.upstream.scheme == "https" else http.client.HTTPConnection
        connection = kind(self.upstream.hostname, self.upstream.port, timeout=30)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                if name.lower() not in {"connection", "expect"}:
                    connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            length = response.getheader("Content-Length") if method == "HEAD" else None
            data = response.read()
            kept = {name: value for name, value in response.getheaders() if name.lower() not in _HOP}
            return response.status, kept | ({"Content-Length": length} if length else {}), data
        finally:
            connection.close()


_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}


class _ProxyHandler(_Handler):
    proxy: FaultProxy

    def handle_one(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        fault = self.proxy.pick(Request(self.command, self.path, dict(self.headers), size))
        before = {"status": self.say, "stall": self.stall}
        if fault and fault.act in before:
            before[fault.act](fault, size)
            return
        body = self.receive(size)
        self.reply(fault, *self.proxy.forward(self.command, self.path, dict(self.headers), body))

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_one  # noqa: N815

    def receive(self, size: int) -> bytes:
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        return self.rfile.read(size)

    def say(self, fault: Fault, size: int) -> None:
        self.receive(size)
        text = f"<Error><Code>{fault.code}</Code><Message>x</Message></Error>".encode()
        self.answer(fault.status, {"Content-Type": "application/xml", **fault.headers}, text)

    def stall(self, fault: Fault, size: int) -> None:
        self.receive(size)
        time.sleep(1.5)
        self.drop()

    def reply(self, fault: Fault | None, status: int, headers: dict[str, str], data: bytes) -> None:
        act = fault.act if fault else ""
        length = headers.pop("Content-Length", None)
        if act == "lose_answer":
            self.drop()
        elif act == "cut":
            self.answer(status, headers, data[: fault.after], len(data))
            self.wfile.flush()
            time.sleep(0.02)
            self.drop()
        elif act == "truncate":
            self.answer(status, headers, data[: fault.after])
        else:
            self.answer(status, headers, _flip(data) if act == "corrupt" else data, int(length) if length else None)


@contextmanager
def fault_proxy(upstream: str) -> Iterator[tuple[str, FaultProxy]]:
    """(address, proxy) of a running fault proxy in front of ``upstream``."""
    made = FaultProxy(upstream)

    class Handler(_ProxyHandler):
        proxy = made

    with _serving(Handler) as url:
        yield url, made


def _flip(data: bytes) -> bytes:
    """The data with one bit changed in its middle."""
    changed = bytearray(data)
    if changed:
        changed[len(changed) // 2] ^= 1
    return bytes(changed)


class WebFiles:
    """The files a web server gives, and how it behaves."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.ranges = True
        self.validators = True


@contextmanager
def web_server() -> Iterator[tuple[str, WebFiles]]:
    """(address, files) of a web server that knows ETag, Range, If-Range and If-None-Match."""
    site = WebFiles()

    class Handler(_Handler):
        def do_GET(self) -> None:
            data = site.files.get(self.path.split("?")[0].lstrip("/"))
            if data is None:
                self.answer(404, {}, b"no such file")
                return
            tag = f'"{hashlib.md5(data).hexdigest()}"'
            headers = {"ETag": tag} if site.validators else {}
            if site.validators and self.headers.get("If-None-Match") == tag:
                self.send_response_only(304)
                self.end_headers()
                return
            if site.validators and self.headers.get("If-Match", tag) != tag:
                self.answer(412, headers, b"")
                return
            wanted = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if not (site.ranges and wanted and self.headers.get("If-Range", tag) == tag):
                self.answer(200, headers, data)
                return
            start, last = int(wanted[1]), int(wanted[2] or len(data) - 1)
            if start >= len(data):
                self.answer(416, headers, b"")
                return
            headers["Content-Range"] = f"bytes {start}-{min(last, len(data) - 1)}/{len(data)}"
            self.answer(206, headers, data[start : last + 1])

    with _serving(Handler) as url:
        yield url, site


@contextmanager
def s3_service() -> Iterator[str]:
    """The address of an S3 service: the one that ``EYAS_TEST_S3_ENDPOINT`` names, or moto."""
    endpoint = os.environ.get("EYAS_TEST_S3_ENDPOINT")
    if endpoint:
        yield endpoint
        return
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def set_credentials(setting: Callable[[str, str], None]) -> None:
    """Keys for moto, which takes any; those of a service that was given come from the environment."""
    if not os.environ.get("EYAS_TEST_S3_ENDPOINT"):
        setting("AWS_ACCESS_KEY_ID", "AKIATESTING")
        setting("AWS_SECRET_ACCESS_KEY", "not-a-secret")


@contextmanager
def bucket_in(endpoint: str) -> Iterator[str]:
    """A new bucket, removed with its content at the end."""
    import boto3

    client = boto3.client("s3", endpoint_url=endpoint, region_name=os.environ.get("AWS_DEFAULT_REGION", "us-east-1"))
    name = f"eyas-test-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=name)
    try:
        yield name
    finally:
        for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=name):
            for upload in page.get("Uploads", []):
                client.abort_multipart_upload(Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"])
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
            keys = [{"Key": item["Key"]} for item in page.get("Contents", [])]
            if keys:
                client.delete_objects(Bucket=name, Delete={"Objects": keys, "Quiet": True})
        client.delete_bucket(Bucket=name)
        client.close()


def put_tree(endpoint: str, bucket: str, prefix: str, folder: Path) -> None:
    """All files of a folder as objects below a prefix."""
    import boto3

    client = boto3.client("s3", endpoint_url=endpoint, region_name=os.environ.get("AWS_DEFAULT_REGION", "us-east-1"))
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            client.upload_file(str(path), bucket, f"{prefix}/{path.relative_to(folder).as_posix()}")
    client.close()
