"""One of the networks that are compared: what was measured of it, wherever that is kept."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from eyas.data.comparability import Comparability
from eyas.data.tasks import deciding
from eyas.operations.comparison.network_origin import NetworkOrigin
from eyas.operations.paired_counts import DEVIATIONS_95
from eyas.operations.paired_difference import PairedDifference, recorded


@dataclass(frozen=True)
class ComparedNetwork:
    """What is known of one network; NaN where nothing is."""

    name: str
    """As the user called it, or shorter."""
    kind: Literal["profile", "version", "run", "dense"]
    metrics: Mapping[str, float]
    """Of all stages, as ``<stage>.<name>``."""
    latency: Mapping[str, Any] = field(default_factory=dict)
    """``latency.json``: dense and pruned network timed side by side; empty where it is gone."""
    verdict: str = ""
    """In a word: ``success``, ``held``, ``lost``, ``undecided``, ..."""
    verdict_lines: tuple[str, ...] = ()
    """The verdict in words, then each remark with its advice; empty where only a word of it is recorded."""
    detail: str = ""
    """What the name stands for, such as a version's number."""
    test_set: str = ""
    """Digest of its test images and their labels; empty where nobody knows them any more."""
    comparability: Comparability = field(default_factory=Comparability)
    address: str = ""
    """What leads to it again: a profile, ``models:/name/3``, or the id of a run."""
    files: Path | None = None
    """Folder of its exported files; None where they are gone."""
    origin: NetworkOrigin = field(default_factory=NetworkOrigin)

    adaptation: str = ""
    """From what and by what it was adapted to images of the field, and what that changed; empty where it was not."""

    @property
    def measure(self) -> str:
        """What is compared, in words: accuracy, the mean IoU of pixels, or without labels the agreement."""
        return self._deciding("finetune")[0]

    @property
    def accuracy(self) -> float:
        """On its test images."""
        return self._deciding("finetune")[1]

    @property
    def dense_accuracy(self) -> float:
        """Of the network that it was pruned from."""
        return self._deciding("baseline")[1]

    @property
    def images(self) -> int:
        """Test images."""
        return int(self.metrics.get("finetune.test_images", 0))

    @property
    def interval(self) -> tuple[float, float]:
        """Where its accuracy on all such images lies in 95 of 100 cases; NaN of a mean IoU, which is no share."""
        if self.measure == "mean IoU" or not self.images:
            return math.nan, math.nan
        return wilson_interval(self.accuracy, self.images)

    @property
    def macs(self) -> float:
        """Multiply-adds per image."""
        return self.metrics.get("finetune.macs", math.nan)

    @property
    def dense_macs(self) -> float:
        """Of the network that it was pruned from."""
        return self.metrics.get("baseline.macs", math.nan)

    @property
    def change(self) -> PairedDifference | None:
        """From its dense network to it, image by image; None where that was not measured, or does not compare."""
        stage = "finetune."
        measured = {name.removeprefix(stage): value for name, value in self.metrics.items() if name.startswith(stage)}
        return recorded(measured, "test", "test_images") if self.comparability.comparable else None

    @property
    def dense(self) -> "ComparedNetwork | None":
        """The network that it was pruned from; None where nothing is known of it."""
        metrics = {name.replace("baseline.", "finetune."): value for name, value in self.metrics.items()
                   if name.startswith("baseline.")}  # fmt: skip
        if not metrics:
            return None
        metrics |= {"finetune.test_images": float(self.images)}
        if "export.dense_bytes" in self.metrics:
            metrics["export.model_bytes"] = self.metrics["export.dense_bytes"]
        times = self.latency.get("milliseconds", {})
        latency = {**self.latency, "milliseconds": {"model": times["dense"]}} if "dense" in times else {}
        return ComparedNetwork(
            "dense", "dense", metrics, latency, test_set=self.test_set, comparability=self.comparability
        )

    @property
    def params(self) -> float:
        """Number of parameters."""
        return self.metrics.get("finetune.params", math.nan)

    @property
    def file_bytes(self) -> float:
        """Size of the float32 ONNX file."""
        return self.metrics.get("export.model_bytes", math.nan)

    @property
    def score(self) -> float:
        """Of the candidate that was fine-tuned, as the race judged it."""
        return self.metrics.get("score.winner_score", math.nan)

    @property
    def latency_ms(self) -> float:
        """Median of a run."""
        return float(self.latency.get("milliseconds", {}).get("model", {}).get("median", math.nan))

    @property
    def latency_quartiles(self) -> tuple[float, float] | None:
        """Between which milliseconds the middle half of the runs lies; None where that is not known."""
        times = self.latency.get("milliseconds", {}).get("model", {})
        return (float(times["q25"]), float(times["q75"])) if {"q25", "q75"} <= set(times) else None

    @property
    def timed_as(self) -> str:
        """Where and how it was timed, in words."""
        keys = ("cpu", "cores", "runtime", "batch", "threads")
        return ", ".join(f"{key} {self.latency[key]}" for key in keys if key in self.latency)

    def _deciding(self, stage: str) -> tuple[str, float]:
        try:
            return deciding(self.metrics, f"{stage}.test_")
        except KeyError:
            return "accuracy", math.nan


def wilson_interval(share: float, images: int, deviations: float = DEVIATIONS_95) -> tuple[float, float]:
    r"""Where the true share lies (Wilson 1927, J. Am. Stat. Assoc. 22:209).

    .. math:: \frac{p + z^2 / 2n \pm z \sqrt{p (1 - p) / n + z^2 / 4n^2}}{1 + z^2 / n}
    """
    square = deviations**2 / images
    half = deviations * math.sqrt(share * (1 - share) / images + square / (4 * images))
    middle = share + square / 2
    return max((middle - half) / (1 + square), 0.0), min((middle + half) / (1 + square), 1.0)
