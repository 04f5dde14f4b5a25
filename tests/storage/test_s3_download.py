"""Faults while reading from S3: success after another try, or a clear error and nothing half-written."""

import hashlib

import pytest

from eyas.errors import ChecksumError, StorageError
from tests.storage.faults import ALWAYS, PART, is_range, leftovers, patience

PASSING = {
    "cut mid-body": {"act": "cut"},
    "500": {"act": "status", "status": 500, "code": "InternalError"},
    "throttled": {"act": "status", "status": 503, "code": "SlowDown"},
    "truncated": {"act": "truncate"},
    "no answer": {"act": "stall"},
    "answer lost": {"act": "lose_answer"},
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
def test_download_succeeds_after_a_passing_fault(s3, large, tmp_path, fault) -> None:
    address = s3.put("data", large)
    injected = s3.proxy.add(match=is_range, times=2, **fault)
    s3.store(**patience(fault)).download(address, tmp_path / "out" / "data")
    assert injected.hits == 2
    assert (tmp_path / "out" / "data").read_bytes() == large


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
def test_download_gives_up_on_a_lasting_fault_and_leaves_nothing(s3, tmp_path, fault) -> None:
    address = s3.put("data", b"x" * 50_000)
    injected = s3.proxy.add(match=is_range, times=ALWAYS, **fault)
    with pytest.raises(StorageError, match=r"/data: .*gave up after 3 tries"):
        s3.store(**{**patience(fault), "attempts": 3}).download(address, tmp_path / "out" / "data")
    assert injected.hits == 3
    assert leftovers(tmp_path / "out") == []


def test_a_broken_download_continues_in_another_process(s3, large, tmp_path) -> None:
    address = s3.put("data", large)
    second = f"bytes={PART}-{2 * PART - 1}"
    s3.proxy.add("cut", match=lambda request: request.headers.get("Range") == second, times=ALWAYS)
    with pytest.raises(StorageError):
        s3.store(concurrency=1).download(address, tmp_path / "data")
    s3.proxy.faults.clear()
    s3.proxy.requests.clear()
    s3.store(concurrency=1).download(address, tmp_path / "data")
    assert (tmp_path / "data").read_bytes() == large
    assert s3.proxy.count(is_range) < 3  # the first part was kept, perhaps the third


def test_a_download_is_not_continued_when_the_object_changed(s3, large, tmp_path) -> None:
    address = s3.put("data", large)
    s3.proxy.add(
        "cut", match=lambda request: request.headers.get("Range", "").startswith(f"bytes={PART}-"), times=ALWAYS
    )
    with pytest.raises(StorageError):
        s3.store(concurrency=1).download(address, tmp_path / "data")
    s3.proxy.faults.clear()
    s3.proxy.requests.clear()
    other = bytes(reversed(large))
    s3.put("data", other)
    s3.store().download(address, tmp_path / "data")
    assert (tmp_path / "data").read_bytes() == other
    assert s3.proxy.count(is_range) == 3  # none kept, none in vain


def test_an_object_replaced_during_a_download_is_refused(s3, large, tmp_path) -> None:
    address = s3.put("data", large)
    swapped = []

    def swap(request) -> bool:
        if is_range(request) and not swapped:
            swapped.append(s3.put("data", bytes(reversed(large))))
        return False

    s3.proxy.add("status", match=swap)
    with pytest.raises(StorageError, match="changed while it was read"):
        s3.store().download(address, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_damaged_bytes_are_downloaded_again(s3, large, tmp_path) -> None:
    address = s3.put("data", large)
    injected = s3.proxy.add("corrupt", match=is_range)
    s3.store().download(address, tmp_path / "data")
    assert injected.hits == 1
    assert (tmp_path / "data").read_bytes() == large


@pytest.mark.parametrize("own", [True, False], ids=["with a digest in the metadata", "with an ETag"])
def test_bytes_that_stay_damaged_are_refused(s3, large, tmp_path, own) -> None:
    address = s3.put("data", large, **({"Metadata": {"sha256": hashlib.sha256(large).hexdigest()}} if own else {}))
    s3.proxy.add("corrupt", match=is_range, times=ALWAYS)
    with pytest.raises(ChecksumError, match="the object"):
        s3.store().download(address, tmp_path / "out" / "data")
    assert leftovers(tmp_path / "out") == []


def test_a_damaged_small_object_of_a_tree_is_fetched_again(s3, tmp_path) -> None:
    s3.put("tree/a", b"aaaa" * 100)
    injected = s3.proxy.add("corrupt", match=lambda request: request.path.endswith("/tree/a"))
    s3.store().bring(s3.address("tree"), tmp_path / "out")
    assert injected.hits == 1
    assert (tmp_path / "out" / "a").read_bytes() == b"aaaa" * 100


def test_another_digest_than_expected_is_refused(s3, tmp_path) -> None:
    address = s3.put("data", b"something else")
    with pytest.raises(ChecksumError, match=f"{'ab' * 32}"):
        s3.store().download(address, tmp_path / "data", sha256="ab" * 32)
    assert not (tmp_path / "data").exists()
    good = hashlib.sha256(b"something else").hexdigest()
    assert s3.store().download(address, tmp_path / "data", sha256=good[:8]) == good
