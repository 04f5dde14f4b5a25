"""How long-running parts say how far they are."""

from typing import Protocol


class Progress(Protocol):
    """Called with the work done, the work in all, and a short text."""

    def __call__(self, done: int, total: int, text: str = "") -> None:
        """``done`` of ``total``; ``text`` says what matters now (best so far, loss)."""


def silent(done: int, total: int, text: str = "") -> None:
    """Say nothing."""
