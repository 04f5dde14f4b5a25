"""Trying again after failures that may pass: exponential backoff with jitter, for whatever talks to a server.

The pause after failure n is drawn uniformly from the upper half of [0, min(cap, base * 2 ** n)]: it grows, and many
clients that failed together do not come back together.
"""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from eyas.errors import StorageError

Result = TypeVar("Result")
_LOG = logging.getLogger(__name__)


class TransientError(Exception):
    """A failure that may pass; ``reason`` is fit to be shown."""

    def __init__(self, reason: str, *, retry_after: str | None = None, progressed: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = float(retry_after) if retry_after is not None and retry_after.isdigit() else 0.0
        """Seconds the server asked to wait, from its ``Retry-After``."""
        self.progressed = progressed
        """Something was gained: the count of tries starts anew."""


@dataclass(frozen=True)
class Retry:
    """How often and how patiently to try."""

    attempts: int
    base: float
    """Upper bound of the first pause, in seconds."""
    cap: float = 30.0
    """Upper bound of any pause, in seconds."""
    failure: str = "{what}: {reason}; gave up after {tries} tries without progress, try again later"
    sleep: Callable[[float], None] = time.sleep

    def __call__(self, work: Callable[[], Result], what: str) -> Result:
        """Call ``work`` until it succeeds.

        Raises:
            StorageError: it raised :class:`TransientError` too often in a row; ``what`` names whom it talked to.
        """
        tries = 0
        while True:
            try:
                return work()
            except TransientError as error:
                tries = 1 if error.progressed else tries + 1
                if tries >= self.attempts:
                    msg = self.failure.format(what=what, reason=error.reason, tries=tries)
                    raise StorageError(msg) from None
                pause = max(self._pause(tries), min(error.retry_after, self.cap))
                _LOG.warning("%s: %s; trying again in %.1f s", what, error.reason, pause)
            self.sleep(pause)

    def _pause(self, tries: int) -> float:
        return random.uniform(0.5, 1.0) * min(self.cap, self.base * 2.0 ** (tries - 1))
