"""The boto3 client, and its failures in our words.

boto3's own retries are off: they do not cover the reading of a body, and two layers of patience multiply.
"""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
import botocore.exceptions as failures
import urllib3.exceptions
from botocore import UNSIGNED
from botocore.config import Config

from eyas.errors import ChecksumError, DataError, ParameterError, StorageError
from eyas.storage.retry import TransientError
from eyas.storage.settings import StorageSettings

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

Result = TypeVar("Result")
_FAILURES = (
    failures.BotoCoreError,
    failures.ClientError,
    urllib3.exceptions.HTTPError,
    ConnectionError,
    TimeoutError,
)
_PASSING_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
_PASSING = frozenset({"InternalError", "RequestTimeout", "RequestTimeoutException", "ServiceUnavailable", "SlowDown"})
_THROTTLED = frozenset({"RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequestsException"})
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"})
_MISSING = frozenset({"NoSuchKey", "NoSuchBucket", "404", "NotFound"})
_REFUSALS = {
    "the credentials have expired: sign in again, or renew the session token": _EXPIRED,
    "the service does not accept the credentials: check key id and secret": frozenset(
        {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "AuthFailure"}
    ),
    "access refused: the credentials lack the permission": frozenset(
        {"AccessDenied", "403", "401", "AllAccessDisabled", "AccountProblem"}
    ),
    "the object changed while it was read: start again": frozenset({"PreconditionFailed", "412"}),
    "this machine's clock is wrong: set it": frozenset({"RequestTimeTooSkewed"}),
}
_WITHOUT_ANSWER: tuple[tuple[tuple[type[BaseException], ...], type[Exception], str], ...] = (
    ((failures.SSLError,), StorageError, "the certificate is not trusted (storage setting ca_bundle)"),
    (
        (failures.NoCredentialsError, failures.PartialCredentialsError, failures.TokenRetrievalError),
        StorageError,
        "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or for a public bucket the "
        "storage setting anonymous",
    ),
    (
        (failures.ReadTimeoutError, failures.ConnectTimeoutError, urllib3.exceptions.TimeoutError, TimeoutError),
        TransientError,
        "no answer in time",
    ),
    ((failures.EndpointConnectionError,), TransientError, "the service cannot be reached"),
    (
        (
            failures.ConnectionError,
            failures.HTTPClientError,
            failures.IncompleteReadError,
            failures.ResponseStreamingError,
            urllib3.exceptions.HTTPError,
            ConnectionError,
        ),
        TransientError,
        "the connection was cut",
    ),
)


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
        except _FAILURES as error:
            if code_of(error) not in _EXPIRED:
                raise explain(error, what) from None
        try:
            return work(self._current(expired=client))
        except _FAILURES as error:
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
    except failures.ProfileNotFound:
        msg = f"storage setting profile {settings.profile!r}: no such profile in the credentials file"
        raise ParameterError(msg) from None
    return session.client(
        "s3",
        endpoint_url=settings.endpoint_url,
        region_name=session.region_name or "us-east-1",
        verify=settings.ca_bundle,
        config=config,
    )


def code_of(error: BaseException) -> str:
    """The service's own code of a failure, or an empty text."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, failures.ClientError) else ""


def explain(error: BaseException, what: str) -> Exception:
    """The error of ours that fits a failure: passing, missing, refused, or anything else."""
    if isinstance(error, failures.ClientError):
        return _explain_answer(error, what)
    if isinstance(error, failures.FlexibleChecksumError):
        return ChecksumError(f"{what}: {error}; downloaded twice: the object is damaged, upload it again")
    for met, kind, words in _WITHOUT_ANSWER:
        if isinstance(error, met):
            return kind(words if kind is TransientError else f"{what}: {words}")
    return StorageError(f"{what}: {type(error).__name__}")


def _explain_answer(error: failures.ClientError, what: str) -> Exception:
    code = code_of(error)
    metadata: Any = error.response.get("ResponseMetadata", {})
    status = metadata.get("HTTPStatusCode", 0)
    if code in _PASSING | _THROTTLED or status in _PASSING_STATUSES:
        headers = metadata.get("HTTPHeaders", {})
        return TransientError(f"the service answered {code or status}", retry_after=headers.get("retry-after"))
    if code in _MISSING:
        missing = "the bucket" if code == "NoSuchBucket" else "it"
        return DataError(f"{what}: {missing} does not exist; check the address")
    reason = next((words for words, codes in _REFUSALS.items() if code in codes), "the service refused")
    return StorageError(f"{what}: {reason} ({code or status})")
