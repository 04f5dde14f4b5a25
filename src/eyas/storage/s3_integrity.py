"""What an S3 object says about its own bytes, and whether those that came agree.

In order of preference: a ``sha256`` in the object's metadata; S3's whole-object SHA-256; the ETag, which is the MD5 of
the object, or of its parts' MD5s (``-N``), unless a KMS or customer key encrypts it.
"""

import base64
import hashlib
import io
import re
from collections.abc import Mapping
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

    @property
    def can_tell(self) -> bool:
        """Whether the object holds anything that its bytes can be compared with."""
        return self.sha256 is not None or (self.etag_is_md5 and ("-" not in self.etag or self.part_size is not None))

    @classmethod
    def of(cls, answer: Mapping[str, Any], *, etag_is_md5: bool = True) -> "ObjectInfo":
        """From boto3's answer to ``head_object`` or ``get_object``; ``etag_is_md5`` as the settings have it."""
        etag = str(answer["ETag"])
        whole = answer.get("ChecksumSHA256", "") if "-" not in etag else ""  # of several parts: a checksum of checksums
        keyed = str(answer.get("ServerSideEncryption", "")).startswith("aws:kms") or "SSECustomerAlgorithm" in answer
        return cls(
            size=int(answer["ContentLength"]),
            etag=etag,
            sha256=answer.get("Metadata", {}).get("sha256") or base64.b64decode(whole).hex() or None,
            etag_is_md5=etag_is_md5 and not keyed and _MD5_ETAG.fullmatch(etag) is not None,
        )


def disagreement(content: Content, info: ObjectInfo) -> str | None:
    """How bytes differ from what their object says, or None."""
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    if size != info.size:
        return f"{size} bytes came instead of {info.size}"
    if info.sha256:
        with _opened(content) as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return None if sha256 == info.sha256 else f"sha256 is {sha256}, the object says {info.sha256}"
    if not info.can_tell:
        return None
    etag = info.etag.strip('"')
    md5 = etag_of(content, info.part_size if "-" in etag else None)
    return None if md5 == etag else f"MD5 is {md5}, the object's ETag says {etag}"


def etag_of(content: Content, part_size: int | None) -> str:
    """The ETag S3 gives a file: its MD5, or the MD5 of its parts' MD5s and their number."""
    with _opened(content) as file:
        if part_size is None:
            return hashlib.file_digest(file, _md5).hexdigest()
        digests = [_md5(part).digest() for part in iter(lambda: file.read(part_size), b"")]
    return f"{_md5(b''.join(digests)).hexdigest()}-{len(digests)}"


def _md5(data: bytes = b"") -> Any:
    return hashlib.md5(data, usedforsecurity=False)


def _opened(content: Content) -> io.BufferedIOBase:
    return io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")
