"""Faults on the wire to S3: success after another try, or a clear error and nothing half-written."""

import hashlib
import logging
import os
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from eyas.errors import ChecksumError, DataError, StorageError

PART = 5 * 2**20
ALWAYS = 10_000


def is_range(request) -> bool:
    return request.method == "GET" and "Range" in request.headers


def is_part(request) -> bool:
    return request.method == "PUT" and "partNumber" in request.path


def is_list(request) -> bool:
    return request.method == "GET" and "list-type=2" in request.path


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def patience(fault: dict[str, object]) -> dict[str, object]:
    """A short wait where the fault is silence, and then more tries: a busy machine is slow, too."""
    return {"read_timeout": 0.7, "attempts": 8} if fault["act"] == "stall" else {}


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


@pytest.mark.parametrize("own", [True, False], ids=["uploaded by us", "uploaded by others"])
def test_bytes_that_stay_damaged_are_refused(s3, large, tmp_path, own) -> None:
    address = s3.address("data")
    if own:
        (tmp_path / "in").write_bytes(large)
        s3.store().upload(tmp_path / "in", address)
    else:
        s3.put("data", large)
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


EXPIRED = {"status": 400, "code": "ExpiredToken"}


def test_credentials_that_stay_expired_are_named(s3, tmp_path, caplog) -> None:
    address = s3.put("data", b"x")
    injected = s3.proxy.add("status", times=ALWAYS, match=is_range, **EXPIRED)
    caplog.set_level(logging.DEBUG, "eyas")
    with pytest.raises(StorageError, match="credentials have expired") as caught:
        s3.store().download(address, tmp_path / "data")
    assert injected.hits == 2  # once, and once with credentials read anew
    assert "not-a-secret" not in str(caught.value) + caplog.text


def test_fresh_credentials_are_picked_up(s3, tmp_path, monkeypatch) -> None:
    file = tmp_path / "credentials"
    key, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    section = f"[eyas]\naws_access_key_id = {{}}\naws_secret_access_key = {secret}\n"
    file.write_text(section.format("OLDKEY"))
    address = s3.put("data", b"payload")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    store = s3.store(profile="eyas")
    with_old = s3.proxy.add(
        "status", times=ALWAYS, match=lambda r: "OLDKEY" in r.headers.get("Authorization", ""), **EXPIRED
    )

    def renew(request) -> bool:
        file.write_text(section.format(key))
        return False

    s3.proxy.faults.insert(0, type(with_old)("status", match=renew))
    store.download(address, tmp_path / "data")
    assert with_old.hits
    assert (tmp_path / "data").read_bytes() == b"payload"


REFUSALS = {
    "InvalidAccessKeyId": (403, StorageError, "does not accept the credentials"),
    "SignatureDoesNotMatch": (403, StorageError, "does not accept the credentials"),
    "AccessDenied": (403, StorageError, "lack the permission"),
    "RequestTimeTooSkewed": (403, StorageError, "clock"),
    "NoSuchBucket": (404, DataError, "the bucket does not exist"),
}


@pytest.mark.parametrize("code", REFUSALS)
def test_a_refusal_is_explained_and_not_repeated(s3, tmp_path, code) -> None:
    address = s3.put("data", b"x")
    status, kind, words = REFUSALS[code]
    injected = s3.proxy.add("status", times=ALWAYS, match=is_range, status=status, code=code)
    with pytest.raises(kind, match=words):
        s3.store().download(address, tmp_path / "data")
    assert injected.hits == 1


def test_a_refused_head_is_explained_by_a_get(s3, tmp_path) -> None:
    address = s3.put("data", b"x")
    s3.proxy.add("status", times=ALWAYS, status=403, code="InvalidAccessKeyId")
    with pytest.raises(StorageError, match="does not accept the credentials"):
        s3.store().download(address, tmp_path / "data")


def test_missing_credentials_are_named(s3, tmp_path, monkeypatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StorageError, match="AWS_ACCESS_KEY_ID"):
        s3.store().download(s3.address("data"), tmp_path / "data")


def test_an_unknown_service_is_given_up(tmp_path) -> None:
    from eyas.storage import Store
    from eyas.storage.settings import StorageSettings

    store = Store(StorageSettings(endpoint_url="http://127.0.0.1:9", attempts=2, backoff=0.001), state=tmp_path)
    with pytest.raises(StorageError, match="cannot be reached; gave up after 2"):
        store.download("s3://bucket/key", tmp_path / "out")


def test_listing_survives_a_fault_on_a_later_page(s3) -> None:
    for number in range(5):
        s3.put(f"tree/{number}", b"x")
    store = s3.store()
    store._s3.page_size = 2
    injected = s3.proxy.add(
        "status", status=503, code="SlowDown", match=lambda r: is_list(r) and "continuation-token" in r.path
    )
    names = [entry.name for entry in store.entries(s3.address("tree/"))]
    assert names == ["0", "1", "2", "3", "4"]
    assert injected.hits == 1


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
    s3.proxy.add("cut_request", match=lambda r: is_part(r) and "partNumber=2" in r.path, times=ALWAYS)
    with pytest.raises(StorageError, match="gave up"):
        s3.store(concurrency=1).upload(tmp_path / "in", s3.address("up"))
    assert s3.keys() == []
    s3.proxy.faults.clear()
    s3.proxy.requests.clear()
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
    s3.proxy.add("cut_request", match=lambda r: is_part(r) and "partNumber=2" in r.path, times=ALWAYS)
    with pytest.raises(StorageError):
        s3.store(concurrency=1).upload(tmp_path / "in", s3.address("up"))
    s3.proxy.faults.clear()
    client = s3.client()
    (upload,) = client.list_multipart_uploads(Bucket=s3.bucket)["Uploads"]
    client.upload_part(Bucket=s3.bucket, Key="up", UploadId=upload["UploadId"], PartNumber=1, Body=bytes(PART))
    client.close()
    s3.store().upload(tmp_path / "in", s3.address("up"))
    assert s3.get("up") == large


def test_a_file_changed_between_two_tries_is_uploaded_anew(s3, large, tmp_path) -> None:
    (tmp_path / "in").write_bytes(large)
    s3.proxy.add("cut_request", match=lambda r: is_part(r) and "partNumber=2" in r.path, times=ALWAYS)
    with pytest.raises(StorageError):
        s3.store(concurrency=1).upload(tmp_path / "in", s3.address("up"))
    s3.proxy.faults.clear()
    other = bytes(reversed(large))
    (tmp_path / "in").write_bytes(other)
    s3.store().upload(tmp_path / "in", s3.address("up"))
    assert s3.get("up") == other


def put_checked(s3, key: str, data: bytes) -> str:
    """An object whose SHA-256 the service itself keeps."""
    client = s3.client()
    client.put_object(Bucket=s3.bucket, Key=key, Body=data, ChecksumAlgorithm="SHA256")
    client.close()
    return s3.address(key)


def put_parts(s3, key: str, data: bytes) -> str:
    """An object in parts, by a tool that leaves no hash of the whole."""
    client = s3.client()
    place = {"Bucket": s3.bucket, "Key": key}
    upload = client.create_multipart_upload(**place)["UploadId"]
    parts = []
    for number, start in enumerate(range(0, len(data), PART), 1):
        body = data[start : start + PART]
        tag = client.upload_part(**place, UploadId=upload, PartNumber=number, Body=body)["ETag"]
        parts.append({"PartNumber": number, "ETag": tag})
    client.complete_multipart_upload(**place, UploadId=upload, MultipartUpload={"Parts": parts})
    client.close()
    return s3.address(key)


KEPT = {"by us": None, "in one request": None, "with a checksum": put_checked, "in parts": put_parts}


def uploaded(s3, large: bytes, tmp_path: Path, by: str) -> str:
    """The address of a tree of one object that holds ``large``."""
    if by == "by us":
        (tmp_path / "in").write_bytes(large)
        s3.store().upload(tmp_path / "in", s3.address("tree/data"))
    elif by == "in one request":
        s3.put("tree/data", large)
    else:
        KEPT[by](s3, "tree/data", large)
    return s3.address("tree")


def is_data(request) -> bool:
    return request.method == "GET" and "/tree/data" in request.path


@pytest.mark.parametrize("by", KEPT)
def test_a_damaged_object_of_a_stream_is_read_again(s3, large, tmp_path, by) -> None:
    address = uploaded(s3, large, tmp_path, by)
    injected = s3.proxy.add("corrupt", match=is_data)
    ((entry, data),) = s3.store().stream(address)
    assert injected.hits == 1
    assert (entry.name, data) == ("data", large)


@pytest.mark.parametrize("by", KEPT)
def test_an_object_of_a_stream_that_stays_damaged_is_refused(s3, large, tmp_path, by) -> None:
    address = uploaded(s3, large, tmp_path, by)
    s3.proxy.add("corrupt", match=is_data, times=ALWAYS)
    with pytest.raises(ChecksumError, match="/tree/data: .*damaged"):
        list(s3.store().stream(address))


def test_an_object_that_is_replaced_under_a_stream_is_refused(s3) -> None:
    s3.put("tree/data", b"old")
    s3.proxy.add("status", match=lambda r: is_data(r) and bool(s3.put("tree/data", b"new")) and False)
    with pytest.raises(StorageError, match="changed while it was read"):
        list(s3.store().stream(s3.address("tree")))


@pytest.mark.parametrize("times", [1, ALWAYS])
def test_the_services_own_checksum_counts_where_the_etag_tells_nothing(s3, tmp_path, times) -> None:
    """As for what others uploaded with a KMS key."""
    put_checked(s3, "tree/data", b"x" * 1000)
    injected = s3.proxy.add("corrupt", match=is_data, times=times)
    store = s3.store(etag_is_md5=False)
    if times == 1:
        store.bring(s3.address("tree"), tmp_path / "out")
        assert injected.hits == 1
        assert (tmp_path / "out" / "data").read_bytes() == b"x" * 1000
        return
    with pytest.raises(ChecksumError, match="/tree/data: .*damaged"):
        store.bring(s3.address("tree"), tmp_path / "out")
    assert leftovers(tmp_path / "out") == []


def break_second_part(s3, source: Path) -> None:
    """Leave an unfinished upload behind."""
    s3.proxy.add("cut_request", match=lambda r: is_part(r) and "partNumber=2" in r.path, times=ALWAYS)
    with pytest.raises(StorageError, match="gave up"):
        s3.store(concurrency=1).upload(source, s3.address("up"))
    s3.proxy.faults.clear()
    s3.proxy.requests.clear()


@pytest.fixture
def encrypting(s3) -> None:
    """The service encrypts."""
    client = s3.client()
    try:
        client.put_object(Bucket=s3.bucket, Key="trial", Body=b"", ServerSideEncryption="AES256")
        client.delete_object(Bucket=s3.bucket, Key="trial")
    except ClientError as error:
        pytest.skip(f"the service does not encrypt: {error}")
    finally:
        client.close()


def encryption(s3, key: str) -> str | None:
    client = s3.client()
    found = client.head_object(Bucket=s3.bucket, Key=key).get("ServerSideEncryption")
    client.close()
    return found


@pytest.mark.usefixtures("encrypting")
def test_a_changed_encryption_is_not_lost_by_continuing(s3, large, tmp_path) -> None:
    (tmp_path / "in").write_bytes(large)
    break_second_part(s3, tmp_path / "in")
    s3.store(sse="AES256").upload(tmp_path / "in", s3.address("up"))
    assert encryption(s3, "up") == "AES256"
    assert s3.get("up") == large
    assert s3.uploads() == 0  # the one that could not be continued was ended


@pytest.mark.usefixtures("encrypting")
def test_an_object_without_the_asked_encryption_is_written_again(s3, tmp_path) -> None:
    (tmp_path / "in").write_bytes(b"payload")
    s3.store().upload(tmp_path / "in", s3.address("up"))
    s3.store(sse="AES256").upload(tmp_path / "in", s3.address("up"))
    assert encryption(s3, "up") == "AES256"


@pytest.mark.usefixtures("encrypting")
def test_a_service_that_ignores_the_encryption_is_told(s3, tmp_path) -> None:
    (tmp_path / "in").write_bytes(b"payload")
    client = s3.client()

    def strip(request) -> bool:
        """As a service that takes the header and keeps the object plain."""
        if request.method == "HEAD":
            client.put_object(Bucket=s3.bucket, Key="up", Body=b"payload", Metadata={"sha256": digest})
        return False

    digest = hashlib.sha256(b"payload").hexdigest()
    s3.proxy.add("status", match=strip)
    with pytest.raises(StorageError, match="asked for AES256"):
        s3.store(sse="AES256").upload(tmp_path / "in", s3.address("up"))
    client.close()


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
