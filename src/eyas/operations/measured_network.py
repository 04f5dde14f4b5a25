"""What a network answered on the test images and what it costs, and how two of them differ."""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from eyas.operations.paired_counts import PairedCounts
from eyas.operations.run_times import RunTimes

MIN_SAVING = 0.01
"""Share of bytes or MACs that makes a network smaller: candidates of one budget differ by as much by chance."""


@dataclass(frozen=True)
class MeasuredNetwork:
    """What one network answered, and what it costs."""

    answers: NDArray[np.int64]
    """Top-1 class per test image, ``(N,)``."""
    labels: NDArray[np.int64]
    """True class per test image, ``(N,)``."""
    latency: float = math.nan
    """Median milliseconds per run."""
    bytes: int = 0
    """Size of the ONNX file."""
    macs: float = math.nan
    """Multiply-adds per image; NaN where they are not known."""
    times: RunTimes = field(default_factory=RunTimes)
    """How the runs spread around their median."""

    @property
    def correct(self) -> NDArray[np.float64]:
        """1 where the answer is right, ``(N,)``."""
        return np.equal(self.answers, self.labels).astype(np.float64)

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float(self.correct.mean())

    def sizes_against(self, other: "MeasuredNetwork") -> dict[str, float]:
        """Bytes and MACs as shares of the other's, as far as both are known."""
        pairs = {"bytes": (float(self.bytes), float(other.bytes)), "MACs": (self.macs, other.macs)}
        return {name: mine / its for name, (mine, its) in pairs.items() if its > 0 and math.isfinite(mine / its)}

    def smaller_than(self, other: "MeasuredNetwork") -> bool:
        """At least 1 % fewer bytes or MACs, and not as much more of the other."""
        shares = self.sizes_against(other).values()
        return bool(shares) and min(shares) < 1 - MIN_SAVING + 1e-9 and max(shares) < 1 + MIN_SAVING


def compare_answers(candidate: MeasuredNetwork, other: MeasuredNetwork) -> PairedCounts:
    """Images that only one of them answers right, from the other to the candidate.

    Raises:
        ValueError: they answered different images.
    """
    if not np.array_equal(candidate.labels, other.labels):
        msg = "candidate and champion answered different test images: evaluate both in one run"
        raise ValueError(msg)
    return PairedCounts.of(other.correct, candidate.correct)


def churn(candidate: MeasuredNetwork, other: MeasuredNetwork) -> float:
    """Share of images that two networks answer differently."""
    return float((candidate.answers != other.answers).mean())
