"""Addresses of files: ``s3://bucket/key``, ``https://host/path``, or a path."""

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote, urlsplit, urlunsplit

from eyas.errors import ParameterError

Scheme = Literal["file", "http", "https", "s3"]
_SCHEME = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]*)://")
_SECRET = re.compile(
    r"(?i)((?:x-amz-(?:signature|security-token|credential)|signature|awsaccesskeyid|token|access_token|password)=)[^&\s'\"]+"
)
_SECRET_NAME = re.compile(r"(?i)(?:^|[^a-z])sig|signature|token|secret|password|credential|key")
_ADDRESS = re.compile(r"\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s'\"<>]+")


@dataclass(frozen=True)
class Address:
    """A parsed address; printing it never shows what may be secret."""

    scheme: Scheme
    text: str
    """As given; may hold a signature or a password."""
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


def redact(text: str) -> str:
    """A text without user names, passwords, query strings and signatures in its addresses."""
    return _SECRET.sub(r"\1***", _ADDRESS.sub(lambda match: _bare(match[0]), text))


def holds_secret(address: str) -> bool:
    """Whether an address holds a password or a signature in clear; a value that begins with ``$`` names a variable."""
    match = _SCHEME.match(address)
    if match is None:
        return False
    rest = address[match.end() :]
    person, sign, _ = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")
    given = [person.rpartition(":")[2]] if sign else []
    if match[1].lower() != "s3":  # a key may hold ? and =
        pairs = (pair.partition("=") for pair in re.split(r"[&;]", rest.partition("?")[2]))
        given += [value for name, _, value in pairs if _SECRET_NAME.search(name)]
    return any(value and not value.startswith("$") for value in given)


def _bare(address: str) -> str:
    """One address without user information and query."""
    if address.lower().startswith("s3://"):
        return re.sub(r"^(s3://)[^/@]*@", r"\1", address, flags=re.IGNORECASE)
    try:
        parts = urlsplit(address)
    except ValueError:
        return "(an address that cannot be read)"
    host = parts.netloc.rsplit("@", 1)[-1]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))
