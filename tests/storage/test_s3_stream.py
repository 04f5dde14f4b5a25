"""Damage to what is read object by object from S3, by whatever wrote it."""

import hashlib

import pytest

from eyas.errors import ChecksumError, StorageError
from tests.storage.faults import ALWAYS, PART, leftovers


def put_with_metadata(s3, key: str, data: bytes) -> str:
    """An object with its SHA-256 in the metadata, as whoever wrote it computed it."""
    return s3.put(key, data, Metadata={"sha256": hashlib.sha256(data).hexdigest()})


def put_checked(s3, key: str, data: bytes) -> str:
    """An object whose SHA-256 the service itself keeps."""
    return s3.put(key, data, ChecksumAlgorithm="SHA256")


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


KEPT = {
    "with metadata": put_with_metadata,
    "in one request": lambda s3, key, data: s3.put(key, data),
    "with a checksum": put_checked,
    "in parts": put_parts,
}


def uploaded(s3, large: bytes, by: str) -> str:
    """The address of a tree of one object that holds ``large``."""
    KEPT[by](s3, "tree/data", large)
    return s3.address("tree")


def is_data(request) -> bool:
    return request.method == "GET" and "/tree/data" in request.path


@pytest.mark.parametrize("by", KEPT)
def test_a_damaged_object_of_a_stream_is_read_again(s3, large, by) -> None:
    address = uploaded(s3, large, by)
    injected = s3.proxy.add("corrupt", match=is_data)
    ((entry, data),) = s3.store().stream(address)
    assert injected.hits == 1
    assert (entry.name, data) == ("data", large)


@pytest.mark.parametrize("by", KEPT)
def test_an_object_of_a_stream_that_stays_damaged_is_refused(s3, large, by) -> None:
    address = uploaded(s3, large, by)
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
