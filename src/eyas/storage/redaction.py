"""What may be secret in a text: one place decides, for messages, logs and everything that is recorded."""

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

_ADDRESS = re.compile(r"\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s'\"<>]+")
_ASSIGNED = re.compile(
    r"(?i)((?:\bsig|signature|token|secret|password|credential|access_?key(?:_?id)?|api_?key)=)[^&\s'\"]+"
)
_QUERY_NAME = re.compile(r"(?i)(?:^|[^a-z])sig|signature|token|secret|password|credential|key")
_VARIABLE = re.compile(r"(?i)SECRET|TOKEN|PASSWORD|(?:ACCESS|API|CUSTOMER)_KEY")
_MIN_VALUE = 8
"""Characters of a variable; shorter values are no secrets, and replacing them would tear words apart."""


def redact(text: str) -> str:
    """A text without what may be secret.

    Addresses lose user names, passwords, query strings and fragments; ``token=...`` and its like lose their value, and
    so does, wherever it stands, every environment variable whose name says that it is secret.
    """
    text = _ASSIGNED.sub(r"\1***", _ADDRESS.sub(lambda match: _bare(match[0]), text))
    for name, value in os.environ.items():
        if len(value) >= _MIN_VALUE and _VARIABLE.search(name):
            text = text.replace(value, "***")
    return text


def redacted(value: Any) -> Any:
    """The same structure, every text in it without secrets."""
    if isinstance(value, Mapping):
        return {name: redacted(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [redacted(inner) for inner in value]
    return redact(value) if isinstance(value, str) else value


def holds_secret(address: str) -> bool:
    """Whether an address holds a password or a signature in clear; a value that begins with ``$`` names a variable."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return False
    user, sign, _ = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")
    values = [user.rpartition(":")[2]] if sign else []
    if scheme.lower() != "s3":  # a key may hold ? and =
        pairs = (pair.partition("=") for pair in re.split(r"[&;]", rest.partition("?")[2]))
        values += [value for name, _, value in pairs if _QUERY_NAME.search(name)]
    return any(value and not value.startswith("$") for value in values)


def _bare(address: str) -> str:
    """One address without user information and query."""
    if address.lower().startswith("s3://"):
        return re.sub(r"^(s3://)[^/@]*@", r"\1", address, flags=re.IGNORECASE)
    try:
        parts = urlsplit(address)
    except ValueError:
        return "(an address that cannot be read)"
    if not parts.netloc:  # sqlite:////place: urlunsplit would drop two of the slashes
        return address.split("?", 1)[0].split("#", 1)[0]
    host = parts.netloc.rsplit("@", 1)[-1]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))
