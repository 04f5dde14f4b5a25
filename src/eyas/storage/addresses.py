"""Addresses of files, ``s3://bucket/key``, ``https://host/path`` or a path, and what a listing says of a file."""

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple
from urllib.parse import unquote, urlsplit

from eyas.errors import ParameterError
from eyas.storage.redaction import redact

Scheme = Literal["file", "http", "https", "s3"]
_SCHEME = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]*)://")


class Entry(NamedTuple):
    """A file below a folder or prefix."""

    name: str
    """Relative to what was listed, ``/`` between parts."""
    size: int
    version: str
    """Changes when the content does: an ETag, or the time of the last change."""
    modified: float | None = None
    """When it was written, in seconds since 1970; None where that is not told."""


@dataclass(frozen=True)
class Address:
    """A parsed address; printing it never shows what may be secret."""

    scheme: Scheme
    text: str
    """As written; may hold a signature or a password."""
    bucket: str = ""
    """The bucket of ``s3``."""
    key: str = ""
    """The key or prefix of ``s3``, the path otherwise."""

    def __str__(self) -> str:
        return redact(self.text)

    @property
    def name(self) -> str:
        """The last part of the path, without query."""
        return unquote(self.key.rstrip("/").rsplit("/", 1)[-1])

    def child(self, name: str) -> "Address":
        """The address of ``name`` below this one."""
        return parse(f"{self.text.rstrip('/')}/{name}")


def parse(address: str) -> Address:
    """Take an address apart.

    Raises:
        ParameterError: its scheme is unknown, or it names no bucket or host.
    """
    match = _SCHEME.match(address)
    if match is None:
        return Address("file", address, key=address)
    scheme = match[1].lower()
    parts = urlsplit(address)
    if scheme == "file":
        return Address("file", unquote(parts.path), key=unquote(parts.path))
    if scheme not in {"http", "https", "s3"}:
        msg = f"{redact(address)}: unknown kind {scheme}://; allowed are s3://, https://, http:// and paths"
        raise ParameterError(msg)
    if not parts.netloc:
        msg = f"{redact(address)} names no {'bucket' if scheme == 's3' else 'host'}: expected {scheme}://NAME/..."
        raise ParameterError(msg)
    if scheme == "s3":
        bucket, _, key = address[match.end() :].partition("/")  # a key may hold ? and #
        return Address("s3", address, bucket=bucket, key=key)
    return Address("https" if scheme == "https" else "http", address, key=parts.path)
