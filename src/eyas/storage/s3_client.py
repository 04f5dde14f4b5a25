"""The boto3 client, and its failures in our words.

boto3's own retries are off: they do not cover the reading of a body, and two layers of patience multiply.
"""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
import botocore.exceptions as failures
import urllib3
from botocore import UNSIGNED
from botocore.config import Config

from eyas.errors import DataError, ParameterError, StorageError
from eyas.storage.retry import Retry, TransientError
from eyas.storage.settings import StorageSettings

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

Result = TypeVar("Result")


class UploadGoneError(StorageError):
    """The service does not know an unfinished upload (any more)."""


_PASSING = frozenset(
    {
        "BadDigest",
        "IncompleteBody",
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "XAmzContentSHA256Mismatch",
    }
)
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"})
_MISSING = frozenset({"NoSuchKey", "NoSuchBucket", "404", "NotFound"})
_WRONG_KEYS = "the service does not accept the credentials: check key id and secret"
_REFUSED = "access refused: the credentials lack the permission"
_CHANGED = "the object changed while it was read: start again"
_FINAL = {
    **dict.fromkeys(_EXPIRED, "the credentials have expired: sign in again, or renew the session token"),
    **dict.fromkeys(("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "AuthFailure"), _WRONG_KEYS),
    **dict.fromkeys(("AccessDenied", "403", "401", "AllAccessDisabled", "AccountProblem"), _REFUSED),
    **dict.fromkeys(("PreconditionFailed", "412"), _CHANGED),
    "RequestTimeTooSkewed": "this machine's clock is wrong: set it",
    "NoSuchUpload": "the unfinished upload is gone: start again",
}
_NO_CREDENTIALS = (
    "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or runtime.storage.anonymous "
    "for a public bucket"
)
_BROKEN = (
    failures.ConnectionError,
    failures.HTTPClientError,
    failures.IncompleteReadError,
    failures.ResponseStreamingError,
    urllib3.exceptions.HTTPError,
    ConnectionError,
    TimeoutError,
)


class S3Access:
    """Calls to one S3 service: retried, refreshed when credentials expired, explained when they fail for good."""

    def __init__(self, settings: StorageSettings) -> None:
        self.settings = settings
        self._retry = Retry.of(settings)
        self._lock = threading.Lock()
        self._client: S3Client | None = None

    def call(self, work: Callable[["S3Client"], Result], what: str) -> Result:
        """``work(client)``, again while it fails in passing ways; ``what`` names the object in messages.

        ``work`` should read bodies itself, so that a broken one is read again.

        Raises:
            DataError: the object or the bucket does not exist.
            StorageError: access is refused, or the service failed after all tries.
        """
        return self._retry(lambda: self._once(work, what), what)

    def _once(self, work: Callable[["S3Client"], Result], what: str) -> Result:
        client = self._current()
        try:
            return work(client)
        except failures.ClientError as error:
            if code_of(error) not in _EXPIRED:
                raise explain(error, what) from None
        except failures.BotoCoreError as error:
            raise explain(error, what) from None
        except (urllib3.exceptions.HTTPError, ConnectionError, TimeoutError) as error:
            raise explain(error, what) from None
        return self._refreshed(client, work, what)

    def _refreshed(self, expired: "S3Client", work: Callable[["S3Client"], Result], what: str) -> Result:
        """Once more with credentials read anew: a profile or a role may have fresh ones by now."""
        with self._lock:
            if self._client is expired:
                self._client = None
        try:
            return work(self._current())
        except (failures.BotoCoreError, failures.ClientError, urllib3.exceptions.HTTPError, OSError) as error:
            raise explain(error, what) from None

    def _current(self) -> "S3Client":
        with self._lock:
            if self._client is None:
                self._client = make_client(self.settings)
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
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        **({"signature_version": UNSIGNED} if settings.anonymous else {}),
    )
    try:
        session = boto3.Session(profile_name=settings.profile, region_name=settings.region)
    except failures.ProfileNotFound:
        msg = f"runtime.storage.profile {settings.profile!r}: no such profile in the credentials file"
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
    response: Any = getattr(error, "response", {})
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def explain(error: BaseException, what: str) -> Exception:
    """The error of ours that fits a failure: passing, missing, refused, or anything else."""
    if isinstance(error, failures.ClientError):
        return _explain_answer(error, what)
    for kinds, make in _LOCAL:
        if isinstance(error, kinds):
            return make(what)
    return StorageError(f"{what}: {type(error).__name__}")


_LOCAL: tuple[tuple[tuple[type[BaseException], ...], Callable[[str], Exception]], ...] = (
    (
        (failures.SSLError,),
        lambda what: StorageError(f"{what}: the certificate is not trusted (see runtime.storage.ca_bundle)"),
    ),
    (
        (failures.NoCredentialsError, failures.PartialCredentialsError, failures.TokenRetrievalError),
        lambda what: StorageError(f"{what}: {_NO_CREDENTIALS}"),
    ),
    (
        (failures.ReadTimeoutError, failures.ConnectTimeoutError, urllib3.exceptions.TimeoutError, TimeoutError),
        lambda _: TransientError("no answer in time"),
    ),
    ((failures.EndpointConnectionError,), lambda _: TransientError("the service cannot be reached")),
    (_BROKEN, lambda _: TransientError("the connection was cut")),
)


def _explain_answer(error: failures.ClientError, what: str) -> Exception:
    code = code_of(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _PASSING or status in {429, 500, 502, 503, 504}:
        return TransientError(f"the service answered {code or status}", retry_after=_retry_after(error))
    if code in _MISSING:
        return DataError(
            f"{what}: {'the bucket' if code == 'NoSuchBucket' else 'it'} does not exist; check the address"
        )
    reason = _FINAL.get(code, "the service refused")
    kind = UploadGoneError if code == "NoSuchUpload" else StorageError
    return kind(f"{what}: {reason} ({code or status})")


def _retry_after(error: failures.ClientError) -> float:
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    value = str(headers.get("retry-after", ""))
    return float(value) if value.isdigit() else 0.0
