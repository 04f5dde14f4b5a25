"""Faults while writing to S3: no object before the whole of it, no part sent twice in vain."""

import hashlib
import os

import pytest

from eyas.errors import DataError, StorageError
from tests.storage.faults import ALWAYS, PART, break_second_part, is_part

UPLOAD_FAULTS = {
    "cut mid-body": {"act": "cut_request", "after": 100_000},
    "500": {"act": "status", "status": 500, "code": "InternalError"},
    "throttled": {"act": "status", "status": 503, "code": "SlowDown", "headers": {"Retry-After": "0"}},
    "damaged on the way": {"act": "corrupt_request"},
    "answer lost": {"act": "lose_answer"},
}


@pytest.mark.parametrize("fault", UPLOAD_FAULTS.values(), ids=UPLOAD_FAULTS.keys())
@pytest.mark.parametrize("checksums", [True, False], ids=["sha256", "md5"])
def test_upload_succeeds_after_a_passing_fault(s3, large, tmp_path, fault, checksums) -> None:
    (tmp_path / "in").write_bytes(large)
    injected = s3.proxy.add(match=is_part, times=2, **fault)
    s3.store(checksums=checksums).upload(tmp_path / "in", s3.address("up"))
    assert injected.hits == 2
    assert s3.get("up") == large
    assert s3.uploads() == 0


@pytest.mark.parametrize("fault", UPLOAD_FAULTS.values(), ids=UPLOAD_FAULTS.keys())
def test_small_upload_succeeds_after_a_passing_fault(s3, tmp_path, fault) -> None:
    (tmp_path / "in").write_bytes(b"payload" * 100_000)
    injected = s3.proxy.add(match=lambda request: request.method == "PUT", **fault)
    s3.store().upload(tmp_path / "in", s3.address("up"))
    assert injected.hits == 1
    assert s3.get("up") == b"payload" * 100_000


def test_a_broken_upload_shows_no_object_and_continues(s3, large, tmp_path) -> None:
    (tmp_path / "in").write_bytes(large)
    break_second_part(s3, tmp_path / "in")
    assert s3.keys() == []
    s3.store(concurrency=1).upload(tmp_path / "in", s3.address("up"))
    assert s3.get("up") == large
    assert s3.proxy.count(is_part) < 3  # the first part was kept by the service, perhaps the third


def test_a_refused_upload_is_ended(s3, large, tmp_path) -> None:
    (tmp_path / "in").write_bytes(large)
    s3.proxy.add("status", match=is_part, times=ALWAYS, status=404, code="NoSuchBucket")
    with pytest.raises(DataError):
        s3.store().upload(tmp_path / "in", s3.address("up"))
    assert s3.uploads() == 0


def is_completion(request) -> bool:
    return request.method == "POST" and "uploadId=" in request.path


def test_the_lost_answer_to_the_last_request_is_no_failure(s3, large, tmp_path) -> None:
    """A service that has ended the upload does not know it any more when it is asked again."""
    (tmp_path / "in").write_bytes(large)
    lost = s3.proxy.add("lose_answer", match=is_completion)
    gone = s3.proxy.add("status", match=is_completion, status=404, code="NoSuchUpload")
    s3.store().upload(tmp_path / "in", s3.address("up"))
    assert (lost.hits, gone.hits) == (1, 1)
    assert s3.get("up") == large


def test_an_upload_that_is_gone_is_a_failure(s3, large, tmp_path) -> None:
    (tmp_path / "in").write_bytes(large)
    s3.proxy.add("status", match=is_completion, times=ALWAYS, status=404, code="NoSuchUpload")
    with pytest.raises(StorageError, match="the unfinished upload is gone"):
        s3.store().upload(tmp_path / "in", s3.address("up"))
    assert s3.keys() == []


def test_foreign_parts_in_an_unfinished_upload_are_replaced(s3, large, tmp_path) -> None:
    (tmp_path / "in").write_bytes(large)
    break_second_part(s3, tmp_path / "in")
    client = s3.client()
    (upload,) = client.list_multipart_uploads(Bucket=s3.bucket)["Uploads"]
    client.upload_part(Bucket=s3.bucket, Key="up", UploadId=upload["UploadId"], PartNumber=1, Body=bytes(PART))
    client.close()
    s3.store().upload(tmp_path / "in", s3.address("up"))
    assert s3.get("up") == large


def test_a_file_changed_between_two_tries_is_uploaded_anew(s3, large, tmp_path) -> None:
    (tmp_path / "in").write_bytes(large)
    break_second_part(s3, tmp_path / "in")
    other = bytes(reversed(large))
    (tmp_path / "in").write_bytes(other)
    s3.store().upload(tmp_path / "in", s3.address("up"))
    assert s3.get("up") == other


@pytest.mark.parametrize("after", [1, 3])
def test_a_file_that_changes_while_it_is_sent_is_no_mixture(s3, large, tmp_path, after) -> None:
    """What is left to be sent is refused; what has been read is what it was."""
    source = tmp_path / "in"
    source.write_bytes(large)
    seen = []

    def change(request) -> bool:
        if is_part(request) and f"partNumber={after}" in request.path and not seen:
            state = source.stat()
            source.write_bytes(bytes(reversed(large)))
            os.utime(source, ns=(state.st_atime_ns, state.st_mtime_ns))  # as a coarse clock would show it
            seen.append(request)
        return False

    s3.proxy.add("status", match=change)
    if after == 3:
        assert s3.store(concurrency=1).upload(source, s3.address("up")) == hashlib.sha256(large).hexdigest()
        assert s3.get("up") == large
        return
    with pytest.raises(StorageError, match="in changed while it was sent"):
        s3.store(concurrency=1).upload(source, s3.address("up"))
    assert s3.keys() == []
    assert s3.uploads() == 0
    s3.store().upload(source, s3.address("up"))
    assert s3.get("up") == bytes(reversed(large))


def test_a_small_file_that_changes_before_it_is_sent_is_no_object(s3, tmp_path) -> None:
    source = tmp_path / "in"
    source.write_bytes(b"payload")

    def change(request) -> bool:
        if request.method == "HEAD":
            source.write_bytes(b"another")
        return False

    s3.proxy.add("status", match=change)
    with pytest.raises(StorageError, match="in changed while it was sent"):
        s3.store().upload(source, s3.address("up"))
    assert s3.keys() == []


def is_parts_list(request) -> bool:
    return request.method == "GET" and "uploadId=" in request.path


@pytest.mark.parametrize("code", ["AccessDenied", "ExpiredToken", "SlowDown"])
def test_a_resume_that_is_refused_does_not_start_over(s3, large, tmp_path, code) -> None:
    (tmp_path / "in").write_bytes(large)
    break_second_part(s3, tmp_path / "in")
    status = {"AccessDenied": 403, "ExpiredToken": 400, "SlowDown": 503}[code]
    s3.proxy.add("status", match=is_parts_list, times=ALWAYS, status=status, code=code)
    with pytest.raises(StorageError, match=r"lack the permission|have expired|gave up"):
        s3.store().upload(tmp_path / "in", s3.address("up"))
    assert s3.proxy.count(lambda r: r.method in {"POST", "PUT", "DELETE"}) == 0
    s3.proxy.faults.clear()
    s3.store().upload(tmp_path / "in", s3.address("up"))
    assert s3.proxy.count(is_part) < 3  # what was sent is still of use
    assert s3.get("up") == large


def test_an_upload_that_the_service_has_dropped_starts_over(s3, large, tmp_path) -> None:
    (tmp_path / "in").write_bytes(large)
    break_second_part(s3, tmp_path / "in")
    client = s3.client()
    (upload,) = client.list_multipart_uploads(Bucket=s3.bucket)["Uploads"]
    client.abort_multipart_upload(Bucket=s3.bucket, Key="up", UploadId=upload["UploadId"])
    client.close()
    s3.store().upload(tmp_path / "in", s3.address("up"))
    assert s3.get("up") == large
