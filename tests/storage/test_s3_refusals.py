"""What S3 refuses: credentials, permissions, buckets; and listings over several pages."""

import logging
import os

import pytest

from eyas.errors import DataError, StorageError
from tests.storage.faults import ALWAYS, is_range


def is_list(request) -> bool:
    return request.method == "GET" and "list-type=2" in request.path


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
