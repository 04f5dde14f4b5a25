"""What a network answered on the test images and what it costs, and how two of them differ."""

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eyas.data.tasks import Tally, Task
from eyas.data.tasks.unlabelled import Unlabelled
from eyas.operations.paired_difference import PairedDifference, compare
from eyas.operations.run_times import RunTimes

MIN_SAVING = 0.01
"""Share of bytes or MACs that makes a network smaller: candidates of one budget differ by as much by chance."""


@dataclass(frozen=True)
class MeasuredNetwork:
    """What one network answered, and what it costs."""

    answers: NDArray[np.int64]
    """Top-1 class per test image, ``(N,)``, or per pixel, ``(N, H, W)``."""
    labels: NDArray[np.int64]
    """True class of the same; :data:`eyas.data.tasks.IGNORED` is no class."""
    latency: float = math.nan
    """Median milliseconds per run."""
    bytes: int = 0
    """Size of the ONNX file."""
    macs: float = math.nan
    """Multiply-adds per image; NaN where they are not known."""
    times: RunTimes = field(default_factory=RunTimes)
    """How the runs spread around their median."""
    labelled: bool = True
    """Whether ``labels`` are the true classes; else they are a dense network's answers."""

    @cached_property
    def tally(self) -> Tally:
        """What became of each image."""
        answers, labels = torch.from_numpy(self.answers), torch.from_numpy(self.labels.astype(np.int64))
        return self.task.tally(answers, labels, int(max(answers.max(), labels.max())) + 1)

    @property
    def task(self) -> Task:
        """What was asked for."""
        return Task.of(torch.from_numpy(self.labels)) if self.labelled else Unlabelled()

    @property
    def correct(self) -> Tensor:
        """Whether the answer is right, ``(N,)``; of no meaning where each pixel has one."""
        return self.tally.right > 0

    @property
    def overlap(self) -> Tensor:
        """Of answers per pixel, ``(2, N, K)``."""
        return self.tally.overlap

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return self.tally.accuracy

    @property
    def value(self) -> float:
        """What decides between two networks: the accuracy or, of pixels, the mean IoU."""
        return self.task.value(self.tally)

    def sizes_against(self, other: "MeasuredNetwork") -> dict[str, float]:
        """Bytes and MACs as shares of the other's, as far as both are known."""
        pairs = {"bytes": (float(self.bytes), float(other.bytes)), "MACs": (self.macs, other.macs)}
        return {name: mine / its for name, (mine, its) in pairs.items() if its > 0 and math.isfinite(mine / its)}

    def smaller_than(self, other: "MeasuredNetwork") -> bool:
        """At least 1 % fewer bytes or MACs, and not as much more of the other."""
        shares = self.sizes_against(other).values()
        return bool(shares) and min(shares) < 1 - MIN_SAVING + 1e-9 and max(shares) < 1 + MIN_SAVING


def compare_answers(candidate: MeasuredNetwork, other: MeasuredNetwork) -> PairedDifference:
    """By how much the candidate is better than the other, image by image.

    Raises:
        ValueError: they answered different images.
    """
    if not np.array_equal(candidate.labels, other.labels):
        msg = "candidate and champion answered different test images: evaluate both in one run"
        raise ValueError(msg)
    return compare(other, candidate)


def churn(candidate: MeasuredNetwork, other: MeasuredNetwork) -> float:
    """Share of images (or pixels) that two networks answer differently."""
    return float((candidate.answers != other.answers).mean())
