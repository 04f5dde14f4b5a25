"""Tell people: one webhook call for a run that came late, failed, was refused or cancelled."""

import json
import os
import random
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from eyas.errors import BadInputError, StorageError

Event = Literal["late", "failed", "refused", "cancelled", "promoted", "rolled_back"]
TIMEOUT_SECONDS = 10.0
ATTEMPTS = 4
LAST_CLIENT_ERROR = 499
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
    body = json.dumps(notice.payload(style)).encode()
    last = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            sleep(2**attempt * random.uniform(0.5, 1.0))
        status, last = _post(address, body)
        if status is not None and status < 300:
            return True
        if status is not None and status <= LAST_CLIENT_ERROR and status not in RETRIED_CLIENT_ERRORS:
            msg = f"the receiver named by {variable} refused the notice: {last}"
            raise BadInputError(msg)
    msg = f"the receiver named by {variable} did not take the notice in {ATTEMPTS} attempts: {last}"
    raise StorageError(msg)


def _post(address: str, body: bytes) -> tuple[int | None, str]:
    """HTTP status (None without an answer) and what went wrong, without the address."""
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
            return answer.status, ""
    except urllib.error.HTTPError as error:
        with error:
            return error.code, f"HTTP {error.code}"
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return None, type(reason).__name__ if isinstance(reason, BaseException) else str(reason)
