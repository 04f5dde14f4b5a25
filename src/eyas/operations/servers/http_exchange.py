"""A site's side of a coordinator's exchange over HTTP: signed calls out, a signed answer back."""

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import requests
import urllib3

from eyas.adaptation.sites.site_message import MAX_BYTES
from eyas.errors import BadInputError, DataError
from eyas.operations.signing import SIGNATURE_HEADER, TIMESTAMP_HEADER, SignatureError, as_answer, sign, verify
from eyas.storage.json_text import parse_json
from eyas.storage.retry import Retry, TransientError

TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class HttpExchange:
    """An exchange at ``http://host:port`` or ``https://...``."""

    address: str
    secret: bytes
    """Shared with the coordinator."""
    retry: Retry = field(default_factory=partial(Retry, 4, base=2.0))
    clock: Callable[[], float] = time.time
    """Unix seconds."""

    def put(self, content: bytes) -> None:
        """Send a message.

        Raises:
            BadInputError: the coordinator refused it; says why.
            StorageError: it did not answer after all tries.
        """
        self._call("messages", content)

    def merged(self, network: str) -> bytes | None:
        """The merged statistics, if there are some; errors as above.

        Raises:
            SignatureError: whoever answered does not share the secret, or answered another request.
        """
        asked = json.dumps({"network": network, "nonce": secrets.token_hex(16)}).encode()
        answer = self._call("merged", asked, missing=404)
        if answer is None:
            return None
        headers, content = answer
        try:
            verify(self.secret, headers, as_answer(asked, content), now=self.clock())
        except SignatureError as error:
            versions = "sites and coordinator need equal versions of eyas"
            msg = f"{self.address} did not answer this request: {error} ({versions})"
            raise SignatureError(msg) from error
        return content

    def _call(self, route: str, body: bytes, missing: int = 0) -> tuple[dict[str, str], bytes] | None:
        """Headers and body of the answer; None where its status is ``missing``."""

        def once() -> tuple[int, dict[str, str], bytes]:
            now = int(self.clock())
            headers = {TIMESTAMP_HEADER: str(now), SIGNATURE_HEADER: sign(self.secret, now, body)}
            url = f"{self.address.rstrip('/')}/{route}"
            try:
                with requests.post(
                    url, body, headers=headers, timeout=TIMEOUT_SECONDS, allow_redirects=False, stream=True
                ) as answer:
                    content = answer.raw.read(MAX_BYTES + 1, decode_content=True)
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:  # the latter while it is read
                raise TransientError(type(error).__name__) from None
            if answer.status_code >= 500:
                raise TransientError(f"HTTP {answer.status_code}")
            return answer.status_code, {name.lower(): value for name, value in answer.headers.items()}, content

        status, headers, content = self.retry(once, self.address)
        if status == missing:
            return None
        if status >= 300:
            msg = f"{self.address} refused the message: {_reason(status, content)}"
            raise BadInputError(msg)
        if len(content) > MAX_BYTES:
            msg = f"{self.address} answers with more than {MAX_BYTES:,} bytes"
            raise DataError(msg)
        return headers, content


def _reason(status: int, content: bytes) -> str:
    try:
        return str(parse_json(content)["error"])[:300]
    except (ValueError, KeyError, TypeError):
        return f"HTTP {status}"
