"""One image as it is stored, and the hash that stands for it."""

import hashlib
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Payload: TypeAlias = bytes | NDArray[np.uint8]
"""One image as its file holds it: encoded bytes, or pixels of shape (H, W) or (H, W, C)."""


def content_hash(payload: Payload) -> str:
    """The sha256 of an image as stored: of its encoded bytes, or of its pixels."""
    data = payload if isinstance(payload, bytes) else np.ascontiguousarray(payload).data
    return hashlib.sha256(data).hexdigest()
