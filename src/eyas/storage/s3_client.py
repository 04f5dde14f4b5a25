"""Calls to an S3 service through boto3.

boto3's own retries are off: they do not cover the reading of a body, and two layers of patience multiply.
"""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ProfileNotFound

from eyas.errors import ParameterError
from eyas.storage.s3_failures import EXPIRED, FAILURES, code_of, explain
from eyas.storage.settings import StorageSettings

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

Result = TypeVar("Result")


class S3Access:
    """Calls to one S3 service: retried, refreshed when credentials expired, explained when they fail for good."""

    def __init__(self, settings: StorageSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._client: S3Client | None = None

    def call(self, work: Callable[["S3Client"], Result], what: str) -> Result:
        """``work(client)``, again while it fails in passing ways; ``what`` names the object in messages.

        ``work`` should read bodies itself, so that a broken one is read again.

        Raises:
            ChecksumError: the bytes are not those of the service's own checksum.
            DataError: the object or the bucket does not exist.
            StorageError: access is refused, or the service failed after all tries.
        """
        return self._settings.retry(lambda: self._once(work, what), what)

    def _once(self, work: Callable[["S3Client"], Result], what: str) -> Result:
        """One try, and one more where credentials expired: a profile or a role may have fresh ones by now."""
        client = self._current()
        try:
            return work(client)
        except FAILURES as error:
            if code_of(error) not in EXPIRED:
                raise explain(error, what) from None
        try:
            return work(self._current(expired=client))
        except FAILURES as error:
            raise explain(error, what) from None

    def _current(self, expired: "S3Client | None" = None) -> "S3Client":
        with self._lock:
            if self._client is None or self._client is expired:
                self._client = make_client(self._settings)
            return self._client


def make_client(settings: StorageSettings) -> "S3Client":
    """A client with a session of its own, so that credentials are looked up anew.

    Raises:
        ParameterError: the profile does not exist.
    """
    path_style = settings.path_style if settings.path_style is not None else settings.endpoint_url is not None
    config = Config(
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.read_timeout,
        retries={"total_max_attempts": 1},
        max_pool_connections=settings.concurrency + 2,
        s3={"addressing_style": "path" if path_style else "auto"},
        response_checksum_validation="when_required",
        **({"signature_version": UNSIGNED} if settings.anonymous else {}),
    )
    try:
        session = boto3.Session(profile_name=settings.profile, region_name=settings.region)
    except ProfileNotFound:
        msg = f"storage setting profile {settings.profile!r}: no such profile in the credentials file"
        raise ParameterError(msg) from None
    return session.client(
        "s3",
        endpoint_url=settings.endpoint_url,
        region_name=session.region_name or "us-east-1",
        verify=settings.ca_bundle,
        config=config,
    )
