"""Remote and local files behind one set of functions: ``s3://``, ``https://``, paths."""

from eyas.storage.addresses import redact
from eyas.storage.store import Store

__all__ = ["Store", "redact"]
