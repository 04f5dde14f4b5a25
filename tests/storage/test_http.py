"""Downloads over HTTP: resumed, checked, tried again, and explained without secrets."""

import hashlib
import logging

import pytest

from eyas.errors import ChecksumError, DataError, StorageError
from tests.storage.faults import ALWAYS, leftovers, patience

SIZE = 300_000


@pytest.fixture
def data() -> bytes:
    return bytes(range(256)) * (SIZE // 256)


FAULTS = {
    "cut mid-body": {"act": "cut", "after": 100_000},
    "500": {"act": "status", "status": 500},
    "429": {"act": "status", "status": 429, "headers": {"Retry-After": "0"}},
    "truncated": {"act": "truncate", "after": 50_000},
    "no answer": {"act": "stall"},
    "reset": {"act": "lose_answer"},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_download_succeeds_after_a_passing_fault(web, data, tmp_path, fault) -> None:
    web.site.files["d.bin"] = data
    times = 1 if fault["act"] == "truncate" else 2  # only the digest can tell, and it allows one more download
    injected = web.proxy.add(times=times, **fault)
    digest = hashlib.sha256(data).hexdigest()
    assert (
        web.store(**patience(fault)).download(f"{web.url}/d.bin", tmp_path / "out" / "d.bin", sha256=digest) == digest
    )
    assert injected.hits == times
    assert (tmp_path / "out" / "d.bin").read_bytes() == data
    assert leftovers(tmp_path / "out") == ["d.bin"]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_lasting_fault_leaves_nothing(web, tmp_path, fault) -> None:
    web.site.files["d.bin"] = b"tiny" * 10
    injected = web.proxy.add(times=ALWAYS, **{**fault, "after": 0})
    with pytest.raises((StorageError, ChecksumError)):
        web.store(**{**patience(fault), "attempts": 3}).download(
            f"{web.url}/d.bin", tmp_path / "out" / "d.bin", sha256="ab" * 32
        )
    assert injected.hits >= 2
    assert leftovers(tmp_path / "out") == []


def test_a_cut_download_continues_where_it_was(web, data, tmp_path) -> None:
    web.site.files["d.bin"] = data
    web.proxy.add("cut", after=100_000)
    web.store().download(f"{web.url}/d.bin", tmp_path / "d.bin")
    first, second = web.proxy.requests
    assert "Range" not in first.headers
    start = int(second.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < start <= 100_000
    assert (tmp_path / "d.bin").read_bytes() == data


def test_a_later_process_continues(web, data, tmp_path) -> None:
    web.site.files["d.bin"] = data
    web.proxy.add("cut", after=100_000)
    web.proxy.add("status", status=500, times=ALWAYS)
    with pytest.raises(StorageError, match="gave up"):
        web.store().download(f"{web.url}/d.bin", tmp_path / "d.bin")
    web.proxy.faults.clear()
    web.proxy.requests.clear()
    web.store().download(f"{web.url}/d.bin", tmp_path / "d.bin")
    assert "Range" in web.proxy.requests[0].headers
    assert (tmp_path / "d.bin").read_bytes() == data


def test_a_line_that_keeps_breaking_but_moves_on_gets_there(web, data, tmp_path) -> None:
    web.site.files["d.bin"] = data
    injected = web.proxy.add("cut", after=40_000, times=ALWAYS)
    injected.match = lambda request: injected.hits < 6  # more often than `attempts`
    web.store(attempts=3).download(f"{web.url}/d.bin", tmp_path / "d.bin")
    assert injected.hits == 6
    assert (tmp_path / "d.bin").read_bytes() == data


def test_a_changed_file_is_not_glued_to_the_old_beginning(web, data, tmp_path) -> None:
    web.site.files["d.bin"] = data
    web.proxy.add("cut", after=100_000)
    changed = bytes(reversed(data))

    def change(request) -> bool:
        if "Range" in request.headers:
            web.site.files["d.bin"] = changed
        return False

    web.proxy.add("status", match=change)
    web.store().download(f"{web.url}/d.bin", tmp_path / "d.bin")
    assert (tmp_path / "d.bin").read_bytes() == changed


@pytest.mark.parametrize("ranges", [True, False], ids=["no validators", "no ranges"])
def test_a_server_that_cannot_resume_is_asked_from_the_start(web, data, tmp_path, ranges) -> None:
    web.site.files["d.bin"] = data
    web.site.ranges, web.site.validators = ranges, not ranges
    web.proxy.add("cut", after=100_000)
    web.store().download(f"{web.url}/d.bin", tmp_path / "d.bin")
    assert (tmp_path / "d.bin").read_bytes() == data


def test_an_unchanged_file_is_not_brought_twice(web, data, tmp_path) -> None:
    web.site.files["d.bin"] = data
    store = web.store()
    store.download(f"{web.url}/d.bin", tmp_path / "a")
    store.download(f"{web.url}/d.bin", tmp_path / "b")
    assert "If-None-Match" in web.proxy.requests[1].headers
    assert (tmp_path / "b").read_bytes() == data
    web.site.files["d.bin"] = b"news"
    store.download(f"{web.url}/d.bin", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"news"


def test_a_damaged_local_copy_is_brought_again(web, data, tmp_path) -> None:
    web.site.files["d.bin"] = data
    digest = hashlib.sha256(data).hexdigest()
    web.store().download(f"{web.url}/d.bin", tmp_path / "a", sha256=digest)
    (copy,) = web.state.rglob("d.bin")
    copy.write_bytes(b"tampered")
    web.store().download(f"{web.url}/d.bin", tmp_path / "b", sha256=digest)
    assert (tmp_path / "b").read_bytes() == data


def test_bytes_damaged_once_are_brought_again(web, data, tmp_path) -> None:
    web.site.files["d.bin"] = data
    web.proxy.add("corrupt")
    digest = hashlib.sha256(data).hexdigest()
    web.store().download(f"{web.url}/d.bin", tmp_path / "d.bin", sha256=digest[:8])
    assert (tmp_path / "d.bin").read_bytes() == data


def test_bytes_that_stay_damaged_are_refused(web, data, tmp_path) -> None:
    web.site.files["d.bin"] = data
    web.proxy.add("corrupt", times=ALWAYS)
    with pytest.raises(ChecksumError, match="d.bin has sha256"):
        web.store().download(f"{web.url}/d.bin", tmp_path / "out" / "d.bin", sha256=hashlib.sha256(data).hexdigest())
    assert leftovers(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [(404, DataError, "does not exist"), (403, StorageError, "access refused"), (418, StorageError, "answered 418")],
)
def test_a_refusal_is_explained_and_not_repeated(web, tmp_path, status, kind, words) -> None:
    injected = web.proxy.add("status", status=status, times=ALWAYS)
    with pytest.raises(kind, match=words):
        web.store().download(f"{web.url}/d.bin", tmp_path / "d.bin")
    assert injected.hits == 1


@pytest.mark.parametrize("fault", [{"act": "status", "status": 403}, {"act": "lose_answer"}, {"act": "corrupt"}])
def test_no_message_shows_what_is_secret(web, data, tmp_path, caplog, fault) -> None:
    caplog.set_level(logging.DEBUG, "eyas")
    web.site.files["d.bin"] = data
    web.proxy.add(times=ALWAYS, **fault)
    host = web.url.removeprefix("http://")
    with pytest.raises((StorageError, ChecksumError)) as caught:
        web.store().download(
            f"http://user:passw0rd@{host}/d.bin?X-Amz-Signature=s1gnature&sig=t0ken", tmp_path / "d", sha256="ab" * 32
        )
    shown = str(caught.value) + caplog.text + repr(caught.value.__cause__) + str(list(web.state.rglob("*")))
    assert "/d.bin" in shown
    for secret in ("passw0rd", "s1gnature", "t0ken"):
        assert secret not in shown


def test_ranges_are_read_and_pinned_to_one_version(web, data) -> None:
    web.site.files["d.bin"] = data
    with web.store().open(f"{web.url}/d.bin") as file:
        file.seek(-10, 2)
        assert file.read() == data[-10:]
        file.seek(7)
        assert file.read(5) == data[7:12]


def test_a_server_without_ranges_cannot_be_read_in_pieces(web, data) -> None:
    web.site.files["d.bin"] = data
    web.site.ranges = False
    with web.store().open(f"{web.url}/d.bin") as file, pytest.raises(StorageError, match="does not give ranges"):
        file.read(10)


def test_a_file_replaced_while_it_is_read_is_noticed(web, data) -> None:
    web.site.files["d.bin"] = data * 10
    with web.store().open(f"{web.url}/d.bin") as file:
        file.read(5)
        web.site.files["d.bin"] = bytes(reversed(data * 10))
        file.seek(2_000_000)
        with pytest.raises(StorageError, match="changed while it was read"):
            file.read(5)


def test_a_beginning_longer_than_the_file_is_thrown_away(web, data, tmp_path) -> None:
    web.site.files["d.bin"] = data
    web.proxy.add("cut", after=100_000)
    web.proxy.add("status", status=500, times=2)
    with pytest.raises(StorageError):
        web.store().download(f"{web.url}/d.bin", tmp_path / "d.bin")
    (part,) = web.state.rglob("*.part")
    part.write_bytes(data + b"surplus")
    web.store().download(f"{web.url}/d.bin", tmp_path / "d.bin")
    assert (tmp_path / "d.bin").read_bytes() == data


def test_https_does_not_lead_to_http() -> None:
    import requests

    from eyas.storage.addresses import parse
    from eyas.storage.http import _check_status

    hop, answer = requests.Response(), requests.Response()
    hop.url, answer.url, answer.status_code = "https://host/a?sig=1", "http://host/a?sig=1", 200
    answer.history = [hop]
    with pytest.raises(StorageError, match="https://host/a leads to an address without https"):
        _check_status(answer, parse("https://host/a?sig=1"))
    _check_status(answer, parse("http://host/a"))


def test_a_refused_connection_is_explained_without_the_query(web, tmp_path) -> None:
    with pytest.raises(StorageError, match=r"http://127\.0\.0\.1:9/d\.bin: the connection was refused") as caught:
        web.store().download("http://127.0.0.1:9/d.bin?sig=t0ken", tmp_path / "d.bin")
    assert "t0ken" not in str(caught.value)
