"""What can go wrong between boto3 and an S3 service, in our words."""

from typing import Any

import botocore.exceptions as failures
import urllib3.exceptions

from eyas.errors import ChecksumError, DataError, StorageError
from eyas.storage.retry import TransientError

FAILURES = (failures.BotoCoreError, failures.ClientError, urllib3.exceptions.HTTPError, ConnectionError, TimeoutError)
"""Whatever boto3 raises where a call or the reading of its body fails."""
_PASSING_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
_PASSING = frozenset({"InternalError", "RequestTimeout", "RequestTimeoutException", "ServiceUnavailable", "SlowDown"})
_THROTTLED = frozenset({"RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequestsException"})
EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"})
"""Codes of credentials that were good once."""
_MISSING = frozenset({"NoSuchKey", "NoSuchBucket", "404", "NotFound"})
_REFUSALS = {
    "the credentials have expired: sign in again, or renew the session token": EXPIRED,
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
