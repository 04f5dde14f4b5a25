"""How long one network takes, and whether another is quicker by more than the measurement spreads."""

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class RunTimes:
    """Quartiles of timed runs, in milliseconds; NaN where nothing was measured."""

    median: float = math.nan
    q25: float = math.nan
    q75: float = math.nan

    @classmethod
    def of(cls, summary: Mapping[str, float]) -> "RunTimes":
        """From one network's summary in ``latency.json``."""
        return cls(summary["median"], summary.get("q25", math.nan), summary.get("q75", math.nan))

    def surely_faster_than(self, other: "RunTimes") -> bool:
        """Three quarters of the runs are quicker than three quarters of the other's; false where one is not known."""
        return self.q75 < other.q25
