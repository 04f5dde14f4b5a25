"""Trying again: exponential backoff with full jitter, for failures that may pass.

The pause before try n is drawn uniformly from [0, min(cap, base * 2 ** n)]: many clients that failed together do not
come back together.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from eyas.errors import StorageError
from eyas.storage.settings import StorageSettings

Result = TypeVar("Result")
_LOG = logging.getLogger(__name__)


class TransientError(Exception):
    """A failure that may pass; ``reason`` is fit to be shown."""

    def __init__(self, reason: str, *, retry_after: float = 0.0, progressed: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after
        """Seconds the server asked to wait."""
        self.progressed = progressed
        """Something was gained: the count of tries starts anew."""


@dataclass(frozen=True)
class Retry:
    """How often and how patiently to try."""

    attempts: int
    base: float
    cap: float
    sleep: Callable[[float], None] = time.sleep
    random: Random = field(default_factory=Random)

    @classmethod
    def of(cls, settings: StorageSettings) -> "Retry":
        """As the settings say."""
        return cls(settings.attempts, settings.backoff, settings.backoff_cap)

    def __call__(self, work: Callable[[], Result], what: str) -> Result:
        """Call ``work`` until it succeeds.

        Raises:
            StorageError: it raised :class:`TransientError` too often in a row; ``what`` names the address.
        """
        failed = 0
        while True:
            try:
                return work()
            except TransientError as error:
                failed = 1 if error.progressed else failed + 1
                if failed >= self.attempts:
                    msg = f"{what}: {error.reason}; gave up after {failed} tries without progress, try again later"
                    raise StorageError(msg) from None
                pause = max(self.pause(failed - 1), min(error.retry_after, self.cap))
                _LOG.info("%s: %s; trying again in %.1f s", what, error.reason, pause)
            self.sleep(pause)

    def pause(self, failed: int) -> float:
        """Seconds to wait after ``failed`` earlier failures (0 for the first)."""
        return self.random.uniform(0, min(self.cap, self.base * 2**failed))
