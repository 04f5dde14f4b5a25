"""One file of a listing."""

from typing import NamedTuple


class Entry(NamedTuple):
    """A file below a folder or prefix."""

    name: str
    """Relative to what was listed, ``/`` between parts."""
    size: int
    version: str
    """Changes when the content does: an ETag, or the time of the last change."""
