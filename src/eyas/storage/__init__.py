"""Remote and local files behind one set of functions: ``s3://``, ``https://``, paths."""

from eyas.storage.redaction import holds_secret, redact, redacted
from eyas.storage.store import Store

__all__ = ["Store", "holds_secret", "redact", "redacted"]
