"""Signed requests: who sent a webhook, when, and that it is new.

The sender computes HMAC-SHA256 over ``<timestamp>.<body>`` with the shared secret and sends
``X-Eyas-Timestamp`` (Unix seconds) and ``X-Eyas-Signature: sha256=<hex>``. A request is refused when the
signature differs, when its time is further away than the tolerance, or when its signature was spent before. A
signature is spent on what a request starts, not on a refusal: an honest sender may repeat a call that met a busy
server. An answer is signed with the digest of its request, so that no older answer passes for it.
"""

import hashlib
import hmac
import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from eyas.errors import BadInputError

log = logging.getLogger(__name__)

TIMESTAMP_HEADER = "x-eyas-timestamp"
SIGNATURE_HEADER = "x-eyas-signature"
TOLERANCE_SECONDS = 300
MIN_SECRET_BYTES = 16


class SignatureError(BadInputError):
    """A request is not signed as it must be; the message never holds the secret or the expected signature."""


class OvertakenError(BadInputError):
    """A request was signed before another one that was accepted in the same matter."""


class ReplayGuard:
    """Remembers which signatures were spent, on disk, so that neither a restart nor a second server opens a gap.

    A file that cannot be read is put aside, and whatever may have been accepted before is refused: every request that
    was signed until then, by a clock ahead by as much as is tolerated. New ones are taken again after the tolerance.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def spending(self, signature: "Signature", now: float, matter: str = "") -> Iterator[None]:
        """Spend a signature on the block; it is given back where the block raises.

        Args:
            signature: what :func:`verify` returned.
            now: Unix seconds.
            matter: what the request replaces, where only a later one may replace an earlier one; "" for nothing.

        Raises:
            SignatureError: it was spent before, or that cannot be told.
            OvertakenError: one that was signed later was accepted in the same matter.
            OSError: nothing can be remembered in the guard's folder.
        """
        from filelock import FileLock

        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path.with_name(self.path.name + ".lock")):
            memory = self._read(now)
            if signature.sent_at <= memory.not_before:
                msg = (
                    "cannot tell whether this was accepted before: the memory was lost; "
                    f"sign anew in {max(memory.not_before - now, 0):.0f} s"
                )
                raise SignatureError(msg)
            if signature.text in memory.seen:
                msg = "replayed: this signature was accepted before"
                raise SignatureError(msg)
            latest = memory.latest.get(matter)
            if latest and signature.sent_at < latest[0]:
                before = f"{latest[0] - signature.sent_at:.0f} s"
                msg = f"signed {before} before what was accepted last; sign it anew if it still holds"
                raise OvertakenError(msg)
            later = {**memory.latest, matter: (signature.sent_at, now)} if matter else memory.latest
            self._write(_Memory({**memory.seen, signature.text: now}, memory.not_before, later))
            try:
                yield
            except BaseException:
                self._write(memory)
                raise

    def _read(self, now: float) -> "_Memory":
        """What is remembered, less what is too old to be accepted anyway."""
        if not self.path.exists():
            return _Memory({}, -1, {})
        try:
            content = json.loads(self.path.read_bytes())
            seen = {str(name): float(at) for name, at in content["seen"].items()}
            not_before = float(content["not_before"])
            latest_calls = content.get("latest", {}).items()
            latest = {str(matter): (float(sent_at), float(at)) for matter, (sent_at, at) in latest_calls}
        except (ValueError, TypeError, KeyError, AttributeError):
            aside = self.path.with_name(f"{self.path.name}.broken-{int(now)}")
            log.exception(
                "%s cannot be read and is put aside as %s: calls are refused for %d s",
                self.path,
                aside.name,
                TOLERANCE_SECONDS,
            )
            shutil.copyfile(self.path, aside)  # a moved file would be a moment without any
            lost = _Memory({}, now + TOLERANCE_SECONDS, {})
            self._write(lost)
            return lost
        kept = 2 * TOLERANCE_SECONDS  # by then what was signed before is too old to be accepted
        return _Memory(
            {name: at for name, at in seen.items() if now - at <= kept},
            not_before,
            {matter: (sent_at, at) for matter, (sent_at, at) in latest.items() if now - at <= kept},
        )

    def _write(self, memory: "_Memory") -> None:
        partial = self.path.with_name(self.path.name + ".part")
        partial.write_text(json.dumps(asdict(memory)))
        partial.replace(self.path)


@dataclass(frozen=True)
class Signature:
    """A signature that was right."""

    text: str
    sent_at: int
    """Unix seconds, by the sender's clock."""


@dataclass(frozen=True)
class _Memory:
    seen: Mapping[str, float]
    """Unix seconds at which each signature was spent."""
    not_before: float
    """What was signed until then is refused."""
    latest: Mapping[str, tuple[float, float]]
    """By matter, when the latest request was signed, and when it was accepted."""


def sign(secret: bytes, timestamp: int, body: bytes) -> str:
    """The value of ``X-Eyas-Signature`` for a body sent at ``timestamp`` (Unix seconds)."""
    return "sha256=" + hmac.new(secret, f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()


def as_answer(request: bytes, content: bytes) -> bytes:
    """What is signed where ``content`` answers a request with that body, and no other."""
    return b"answer to " + hashlib.sha256(request).hexdigest().encode() + b"\n" + content


def verify(secret: bytes, headers: Mapping[str, str], body: bytes, *, now: float) -> Signature:
    """Look whether a request was signed lately by one who shares the secret; :class:`ReplayGuard` tells if it is new.

    Args:
        secret: shared with the sender; at least 16 bytes.
        headers: with lower-case names.
        body: as received, byte for byte.
        now: Unix seconds.

    Raises:
        SignatureError: unsigned, wrongly signed, too old, or from the future.
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
    return Signature(signature, int(timestamp))
