"""Remote and local files behind one set of functions: ``s3://``, ``https://``, paths."""

from eyas.storage.addresses import holds_secret, redact
from eyas.storage.store import Store

__all__ = ["Store", "holds_secret", "redact"]
