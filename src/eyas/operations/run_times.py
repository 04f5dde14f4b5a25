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

    @property
    def spread(self) -> str:
        """The middle half of the runs, in words; empty where it is not known."""
        if not (math.isfinite(self.q25) and math.isfinite(self.q75)):
            return ""
        return f"{self.q25:.3g} to {self.q75:.3g} ms"

    def overlaps(self, other: "RunTimes") -> bool:
        """Neither is surely faster: the difference is within the noise; false where one is not known."""
        return self.q25 <= other.q75 and other.q25 <= self.q75

    def surely_faster_than(self, other: "RunTimes") -> bool:
        """Three quarters of the runs are quicker than three quarters of the other's; false where one is not known."""
        return self.q75 < other.q25
