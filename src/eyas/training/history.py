"""The history of a training as a table that DVC and spreadsheets plot."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from eyas.training.evaluation import Evaluation


@dataclass(frozen=True)
class EpochRecord:
    """One row of the history."""

    epoch: int
    """From 1; 0 is what training began with."""
    train_loss: float | None
    """Mean of the recipe's loss over the epoch's steps; none before the first."""
    score_accuracy: float
    learning_rate: float | None
    """At the epoch's last step; none before the first."""
    score_cross_entropy: float
    """In nats."""
    score_mean_iou: float | None = None
    """Where each pixel has an answer; without it there is no such column."""

    @classmethod
    def before_training(cls, start: Evaluation) -> "EpochRecord":
        """What training began with, on the score split."""
        return cls(0, None, start.accuracy, None, start.cross_entropy, start.mean_iou)


def write_history(history: Iterable[EpochRecord], path: Path, measure: str = "accuracy") -> None:
    """Write ``history.csv``: a header and a line per epoch; numbers keep all their digits, what is none is empty.

    ``measure`` is what the accuracies are: see :class:`eyas.training.Evaluation`.
    """
    history = list(history)
    names = [field.name for field in fields(EpochRecord)]
    if all(record.score_mean_iou is None for record in history):
        names.remove("score_mean_iou")
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([name.replace("accuracy", measure) for name in names])
        writer.writerows([getattr(record, name) for name in names] for record in history)
