"""Tell people: one webhook call for a run that came late, failed, was refused or cancelled, and for drift."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from eyas.errors import BadInputError
from eyas.storage.retry import Retry, TransientError

Event = Literal["late", "failed", "refused", "cancelled", "promoted", "rolled_back", "drift"]
TIMEOUT_SECONDS = 10.0
ATTEMPTS = 4
RETRIED_CLIENT_ERRORS = (408, 429)


@dataclass(frozen=True)
class Notice:
    """What happened, in words a person can act on."""

    event: Event
    flow: str
    message: str
    workspace: str = "default"
    link: str = ""

    def payload(self, style: Literal["json", "slack"]) -> dict[str, Any]:
        """The body of the call: every field, or Slack's ``text``."""
        if style == "json":
            return asdict(self)
        head = f"*eyas {self.flow}* ({self.workspace}): {self.event.replace('_', ' ')}"
        return {"text": "\n".join(part for part in (head, self.message, self.link) if part)}


def send(
    notice: Notice,
    *,
    variable: str,
    style: Literal["json", "slack"] = "json",
    environment: Mapping[str, str] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """POST a notice to the address that the environment variable ``variable`` holds.

    The address is a secret: it stands in no message. Returns False when the variable is not set.

    Raises:
        BadInputError: the address is not http(s), or the receiver refused the call (4xx).
        StorageError: the receiver did not take it after all attempts.
    """
    address = (os.environ if environment is None else environment).get(variable)
    if not address:
        return False
    if not address.startswith(("https://", "http://")):
        msg = f"the address in {variable} must start with https:// or http://"
        raise BadInputError(msg)
    failure = "{what} did not take the notice in {tries} attempts: {reason}"
    receiver = f"the receiver named by {variable}"
    Retry(ATTEMPTS, base=2.0, failure=failure, sleep=sleep)(
        lambda: _post(address, notice.payload(style), receiver), receiver
    )
    return True


def _post(address: str, payload: dict[str, Any], receiver: str) -> None:
    """One call; what went wrong is told without the address."""
    import requests

    try:
        answer = requests.post(address, json=payload, timeout=TIMEOUT_SECONDS)
    except requests.RequestException as error:
        raise TransientError(type(error).__name__) from None
    status = answer.status_code
    if status >= 500 or status in RETRIED_CLIENT_ERRORS:
        raise TransientError(f"HTTP {status}", retry_after=answer.headers.get("Retry-After"))
    if status >= 300:
        msg = f"{receiver} refused the notice: HTTP {status}"
        raise BadInputError(msg)
