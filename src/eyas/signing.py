"""Signed requests: who sent a webhook, when, and that it is new.

The sender computes HMAC-SHA256 over ``<timestamp>.<body>`` with the shared secret and sends
``X-Eyas-Timestamp`` (Unix seconds) and ``X-Eyas-Signature: sha256=<hex>``. A request is refused when the
signature differs, when its time is further away than the tolerance, or when its signature was seen before.
"""

import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from pathlib import Path

from eyas.errors import BadInputError

TIMESTAMP_HEADER = "x-eyas-timestamp"
SIGNATURE_HEADER = "x-eyas-signature"
TOLERANCE_SECONDS = 300
MIN_SECRET_BYTES = 16


class SignatureError(BadInputError):
    """A request is not signed as it must be; the message never holds the secret or the expected signature."""


class ReplayGuard:
    """Remembers signatures within the tolerance, on disk, so that a restart opens no gap."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, signature: str, now: float) -> bool:
        """Remember a signature; False when it was there already."""
        seen = {name: at for name, at in self._read().items() if now - at <= 2 * TOLERANCE_SECONDS}
        if signature in seen:
            return False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".part")
        partial.write_text(json.dumps(seen | {signature: now}))
        os.replace(partial, self.path)
        return True

    def _read(self) -> dict[str, float]:
        return json.loads(self.path.read_text()) if self.path.exists() else {}


def sign(secret: bytes, timestamp: int, body: bytes) -> str:
    """The value of ``X-Eyas-Signature`` for a body sent at ``timestamp`` (Unix seconds)."""
    return "sha256=" + hmac.new(secret, f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()


def verify(secret: bytes, headers: Mapping[str, str], body: bytes, *, now: float, guard: ReplayGuard) -> None:
    """Accept a request once.

    Args:
        secret: shared with the sender; at least 16 bytes.
        headers: with lower-case names.
        body: as received, byte for byte.
        now: Unix seconds.
        guard: what was accepted before.

    Raises:
        SignatureError: unsigned, wrongly signed, too old, from the future, or sent before.
    """
    if len(secret) < MIN_SECRET_BYTES:
        msg = f"the shared secret has {len(secret)} bytes: use at least {MIN_SECRET_BYTES}"
        raise SignatureError(msg)
    timestamp, signature = headers.get(TIMESTAMP_HEADER, ""), headers.get(SIGNATURE_HEADER, "")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12) or not signature.isascii():
        msg = f"unsigned: send {TIMESTAMP_HEADER} (Unix seconds) and {SIGNATURE_HEADER} (sha256=<hex>)"
        raise SignatureError(msg)
    if not hmac.compare_digest(sign(secret, int(timestamp), body), signature):
        msg = "wrong signature"
        raise SignatureError(msg)
    if abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        msg = (
            f"sent {now - int(timestamp):+.0f} s from now: at most {TOLERANCE_SECONDS} s are allowed; check the clocks"
        )
        raise SignatureError(msg)
    if not guard.add(signature, now):
        msg = "replayed: this signature was accepted before"
        raise SignatureError(msg)
