"""The result of a race: one row per candidate, aligned with the plans that were given."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyas.scoring.race.measurement import Measurement

Floats = NDArray[np.float64]
COLUMNS = ("score", "standard_error", "accuracy", "cross_entropy", "images", "rung", "rank")


@dataclass(frozen=True)
class ScoreTable:
    """Columns over n candidates. ``rank`` 1 is the winner: the last rung reached counts first, then the score.

    Equal scores rank by cross-entropy; candidates without a finite score behind all others.
    """

    score: Floats
    """Higher is better; from the last rung the candidate reached. After training steps top-1 accuracy where the scorer
    reads labels, else the scorer's."""
    standard_error: Floats
    """Of the score."""
    accuracy: Floats
    """NaN without labels."""
    cross_entropy: Floats
    """In nats; NaN without labels."""
    images: NDArray[np.int64]
    """Scoring images behind the score."""
    rung: NDArray[np.int64]
    """Number of the last rung reached, from 0."""
    rank: NDArray[np.int64]
    settings: dict[str, Any] = field(default_factory=dict)
    """What the scores depend on: batch size, seed, output, stop margin, precision, calibrator, scorer, rungs, prior."""
    diagnostics: dict[str, Any] = field(default_factory=dict)
    """Numbers about the race as a whole."""
    warnings: tuple[str, ...] = ()
    """What is wrong with these scores, in plain words."""

    def __len__(self) -> int:
        return len(self.score)

    @property
    def winner(self) -> int:
        """The candidate of rank 1."""
        return int(self.rank.argmin())

    def columns(self) -> dict[str, NDArray[Any]]:
        """All columns by name."""
        return {name: getattr(self, name) for name in COLUMNS}


class Standings:
    """The rows of a table while a race goes on."""

    def __init__(self, count: int) -> None:
        self.values = {name: np.full(count, np.nan) for name in COLUMNS[:4]}
        self.images = np.zeros(count, np.int64)
        self.rung = np.full(count, -1, np.int64)

    def extend(self, count: int) -> None:
        """Rows for so many further candidates."""
        further = Standings(count)
        self.values = {name: np.concatenate([column, further.values[name]]) for name, column in self.values.items()}
        self.images = np.concatenate([self.images, further.images])
        self.rung = np.concatenate([self.rung, further.rung])

    def record(self, candidate: int, rung: int, measurement: Measurement) -> None:
        """A candidate finished a rung; what it had before is replaced."""
        for name, column in self.values.items():
            column[candidate] = getattr(measurement, name)
        self.images[candidate] = measurement.images
        self.rung[candidate] = rung

    def scores(self, among: NDArray[np.int64]) -> dict[int, float]:
        """The present scores of ``among``."""
        return {int(candidate): float(self.values["score"][candidate]) for candidate in among}

    def order(self, among: NDArray[np.int64]) -> NDArray[np.int64]:
        """``among``, best first: finite scores, then last rung reached, score, cross-entropy, number."""
        scores, losses = self.values["score"][among], self.values["cross_entropy"][among]
        broken = ~np.isfinite(scores)
        return among[np.lexsort((among, losses, -np.where(broken, 0, scores), -self.rung[among], broken))]

    def not_finite(self, among: NDArray[np.int64]) -> int:
        """How many of ``among`` have no finite score."""
        return int((~np.isfinite(self.values["score"][among])).sum())

    def table(self, original: NDArray[np.int64], **extra: Any) -> ScoreTable:
        """The finished table; equal candidates share a row's numbers."""
        for column in (*self.values.values(), self.images, self.rung):
            column[:] = column[original]
        order = self.order(np.arange(len(original)))
        rank = np.empty(len(original), np.int64)
        rank[order] = np.arange(1, len(original) + 1)
        columns: dict[str, Any] = dict(self.values)
        return ScoreTable(**columns, images=self.images, rung=self.rung, rank=rank, **extra)
