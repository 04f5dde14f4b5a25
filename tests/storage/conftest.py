"""A store on each side of a fault proxy."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest

from eyas.storage import Store
from eyas.storage.settings import StorageSettings
from tests.storage.faults import PART
from tests.support.peers import FaultProxy, WebFiles, bucket_in, fault_proxy, s3_service, set_credentials, web_server

QUICK = {
    "backoff": 0.001,
    "backoff_cap": 0.01,
    "attempts": 3,
    "part_size": PART,
    "read_timeout": 20.0,
    "concurrency": 3,
}


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        set_credentials(patch.setenv)
        with s3_service() as url:
            yield url


@dataclass
class S3:
    """A bucket, seen directly and through the proxy."""

    endpoint: str
    bucket: str
    proxy: FaultProxy
    proxied: str
    state: Path

    def store(self, **changes: object) -> Store:
        """A store that talks through the proxy."""
        settings = StorageSettings(endpoint_url=self.proxied, **{**QUICK, **changes})
        return Store(settings, state=self.state)

    def address(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"

    def put(self, key: str, data: bytes, **options: object) -> str:
        client = self.client()
        client.put_object(Bucket=self.bucket, Key=key, Body=data, **options)
        client.close()
        return self.address(key)

    def keys(self) -> list[str]:
        client = self.client()
        keys = [item["Key"] for item in client.list_objects_v2(Bucket=self.bucket).get("Contents", [])]
        client.close()
        return keys

    def client(self):
        return boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1")


@pytest.fixture
def s3(s3_endpoint: str, tmp_path: Path) -> Iterator[S3]:
    with bucket_in(s3_endpoint) as bucket, fault_proxy(s3_endpoint) as (url, proxy):
        yield S3(s3_endpoint, bucket, proxy, url, tmp_path / "state")


@dataclass
class Web:
    """A web server behind the proxy."""

    url: str
    site: WebFiles
    proxy: FaultProxy
    state: Path

    def store(self, **changes: object) -> Store:
        return Store(StorageSettings(**{**QUICK, **changes}), state=self.state)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with web_server() as (upstream, site), fault_proxy(upstream) as (url, proxy):
        yield Web(url, site, proxy, tmp_path / "state")


@pytest.fixture(scope="session")
def large() -> bytes:
    """Three parts, the last one short; the same bytes in every session."""
    import numpy as np

    return np.random.default_rng(0).integers(0, 256, 2 * PART + 12345, dtype=np.uint8).tobytes()
