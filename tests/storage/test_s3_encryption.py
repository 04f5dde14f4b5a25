"""The encryption that was asked for is the one an object has."""

import hashlib

import pytest
from botocore.exceptions import ClientError

from eyas.errors import StorageError
from tests.storage.faults import break_second_part


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
