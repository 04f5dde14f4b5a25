"""What an S3 object says about its own bytes, and whether those that came agree.

In order of preference: the ``sha256`` that uploads of ours leave in the object's metadata; S3's whole-object SHA-256;
the ETag, which is the MD5 of the object, or of its parts' MD5s (``-N``), unless a KMS or customer key encrypts it.
"""

import base64
import hashlib
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Content = Path | bytes
"""A file, or what it would hold."""
_MD5_ETAG = re.compile(r'"?[0-9a-f]{32}(-\d+)?"?')


@dataclass(frozen=True)
class ObjectInfo:
    """An object as a HEAD request describes it."""

    size: int
    etag: str
    sha256: str | None = None
    """Hexadecimal, of the whole object."""
    etag_is_md5: bool = True
    part_size: int | None = None
    """Bytes of the first part, for a multipart object."""
    sse: str | None = None
    """Server-side encryption, as S3 names it."""
    sse_key: str | None = None
    """ARN or id of the KMS key."""

    @property
    def can_tell(self) -> bool:
        """Whether the object holds anything that its bytes can be compared with."""
        return self.sha256 is not None or (self.etag_is_md5 and ("-" not in self.etag or self.part_size is not None))

    @classmethod
    def of(cls, answer: Mapping[str, Any], *, etag_is_md5: bool = True) -> "ObjectInfo":
        """From boto3's answer to ``head_object`` or ``get_object``; ``etag_is_md5`` as the settings have it."""
        etag = str(answer["ETag"])
        whole = answer.get("ChecksumSHA256", "") if "-" not in etag else ""  # of several parts: a checksum of checksums
        return cls(
            size=int(answer["ContentLength"]),
            etag=etag,
            sha256=answer.get("Metadata", {}).get("sha256") or _hex(whole),
            etag_is_md5=etag_is_md5 and not _keyed(answer) and _MD5_ETAG.fullmatch(etag) is not None,
            sse=answer.get("ServerSideEncryption"),
            sse_key=answer.get("SSEKMSKeyId"),
        )


def _keyed(answer: Mapping[str, Any]) -> bool:
    """Whether a key encrypts the object in a way that makes its ETag something else than an MD5."""
    return str(answer.get("ServerSideEncryption", "")).startswith("aws:kms") or "SSECustomerAlgorithm" in answer


def _hex(checksum: str) -> str | None:
    """Base64 to hexadecimal; None without a checksum."""
    return base64.b64decode(checksum).hex() if checksum else None


def disagreement(content: Content, info: ObjectInfo) -> str | None:
    """How bytes differ from what their object says, or None."""
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    if size != info.size:
        return f"{size} bytes came instead of {info.size}"
    if info.sha256:
        found = sha256_of(content)
        return None if found == info.sha256 else f"sha256 is {found}, the object says {info.sha256}"
    if not info.can_tell:
        return None
    etag = info.etag.strip('"')
    found = etag_of(content, info.part_size if "-" in etag else None)
    return None if found == etag else f"MD5 is {found}, the object's ETag says {etag}"


def sha256_of(content: Content) -> str:
    """Hexadecimal SHA-256."""
    with _opened(content) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def etag_of(content: Content, part_size: int | None) -> str:
    """The ETag S3 gives a file: its MD5, or the MD5 of its parts' MD5s and their number."""
    if part_size is None:
        with _opened(content) as file:
            return hashlib.file_digest(file, _md5).hexdigest()
    parts = [_md5(part).digest() for part in _parts(content, part_size)]
    return f"{_md5(b''.join(parts)).hexdigest()}-{len(parts)}"


def _md5(data: bytes = b"") -> Any:
    return hashlib.md5(data, usedforsecurity=False)


def _opened(content: Content) -> io.BufferedIOBase:
    return io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")


def _parts(content: Content, part_size: int) -> Iterator[bytes]:
    with _opened(content) as file:
        while part := file.read(part_size):
            yield part


def base64_sha256(data: bytes) -> str:
    """SHA-256 as S3's headers want it."""
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def base64_md5(data: bytes) -> str:
    """MD5 as ``Content-MD5`` wants it."""
    return base64.b64encode(_md5(data).digest()).decode()


def receipt_agrees(answer: Mapping[str, Any], data: bytes, *, etag_is_md5: bool = True) -> bool:
    """Whether the service's answer to an upload fits the bytes that were sent."""
    if answer.get("ChecksumSHA256"):
        return bool(answer["ChecksumSHA256"] == base64_sha256(data))
    etag = str(answer.get("ETag", "")).strip('"')
    if not etag_is_md5 or _keyed(answer) or not re.fullmatch(r"[0-9a-f]{32}", etag):
        return True
    return bool(etag == _md5(data).hexdigest())
