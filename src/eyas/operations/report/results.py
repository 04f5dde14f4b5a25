"""What the stages left, read into typed values."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from eyas.data.comparability import Comparability, read_comparability
from eyas.data.manifest import images_per_split, task_of
from eyas.data.tasks import Task
from eyas.networks.architecture_record import ArchitectureRecord, read_record
from eyas.pruning.widths import multiple_of
from eyas.scoring.scorers import Scorer
from eyas.training.recorded_answers import ANSWERS, RecordedAnswers, read_answers

_SCORES = ("score_mean_iou", "score_agreement", "score_accuracy")
"""Columns of a history, what decides first."""
LATENCY = "latency.json"
"""Under ``artifacts``: measured times, which are no output of a stage because they never repeat."""


LATENCY_BUDGET = "latency_budget.json"
"""Under ``artifacts``, where milliseconds are limited: the exported network measured as the latency profile was."""


@dataclass(frozen=True)
class Candidate:
    """One row of the score stage's table."""

    index: int
    widths: tuple[int, ...]
    macs: int
    params: int
    score: float
    standard_error: float
    accuracy: float
    """On ``images`` score images, recalibrated and not trained but for the steps of its rung; NaN without labels."""
    images: int
    rung: int
    """Number of the last rung it reached, from 0."""
    rank: int


@dataclass(frozen=True)
class Group:
    """A prunable group: what the dense network has and what the winner keeps."""

    name: str
    channels: int
    kept: int
    multiple: int = 1
    """What the widths of candidates are multiples of."""


@dataclass(frozen=True)
class TrainingCurve:
    """One training: a column per quantity, aligned with ``epoch``."""

    epoch: tuple[int, ...]
    """0 is what training began with, where that was measured."""
    train_loss: tuple[float, ...]
    """NaN before the first epoch."""
    score: tuple[float, ...]
    """Accuracy on the score split or, of pixels, mean IoU."""
    learning_rate: tuple[float, ...] = ()
    """At the last step of each epoch; NaN before the first."""


@dataclass(frozen=True)
class Results:
    """Everything the report shows."""

    metrics: dict[str, dict[str, float]]
    """By stage: its ``metrics.json``."""
    architecture: ArchitectureRecord
    manifest: dict[str, Any]
    """Of the data set."""
    dense_cost: dict[str, float]
    groups: tuple[Group, ...]
    frozen: tuple[dict[str, Any], ...]
    candidates: tuple[Candidate, ...]
    histories: dict[str, TrainingCurve]
    parity: dict[str, Any]
    latency: dict[str, Any]
    files: dict[str, dict[str, Any]]
    """Of the export stage: sha256 and bytes by name."""
    diagnostics: dict[str, Any]
    latency_budget: dict[str, Any] | None = None
    """None where no milliseconds are limited."""
    comparability: Comparability = field(default_factory=Comparability)
    """Whether accuracies of dense and pruned network may be compared."""
    checked: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Of the export stage, by the artifact's name: what its gate measured; empty where that was not kept."""
    answers: RecordedAnswers | None = None
    """To the test images; None where they were not kept."""
    blocks: tuple[str, ...] = ()
    """Residual blocks that candidates may leave out; none where depth is not searched."""
    left_out: tuple[str, ...] = ()
    """Those of them that the winner leaves out."""

    @property
    def task(self) -> Task:
        """What the labels are for."""
        return Task.parse(self.manifest.get("task", "classification"))

    @property
    def test_task(self) -> Task:
        """What the labels of the test images are for; they may be the only ones."""
        return task_of(self.task.kind, self.manifest["splits"]["test"])

    @property
    def split_images(self) -> dict[str, int]:
        """Images per split."""
        return images_per_split(self.manifest)

    @property
    def ranked_by_accuracy(self) -> bool:
        """Whether the race ended by top-1 after training steps; without a reward every score is an accuracy then."""
        return _ranked_by_accuracy(self.diagnostics)

    @property
    def reward(self) -> dict[str, float]:
        """Weight of each cost in the reward that multiplies scores; empty without one."""
        return _reward(self.diagnostics)

    @property
    def winner(self) -> Candidate:
        """The candidate that was fine-tuned."""
        return min(self.candidates, key=lambda candidate: candidate.rank)

    @property
    def uniform(self) -> Candidate | None:
        """The candidate that keeps the same share everywhere; None where none was raced."""
        number = self.diagnostics.get("uniform", {}).get("candidate")
        return next((candidate for candidate in self.candidates if candidate.index == number), None)

    def judged_on(self, candidate: Candidate) -> str:
        """What a candidate's score stands on, in words."""
        rungs = self.diagnostics.get("settings", {}).get("rungs", [])
        steps = rungs[candidate.rung].get("steps") if candidate.rung < len(rungs) else None
        return f"{candidate.images:,} images" + (f" after {steps} training steps" if steps else "")


def read_results(artifacts: Path) -> Results:
    """Read what the six stages left under ``artifacts``, and the latency that was measured after them.

    Raises:
        FileNotFoundError, CheckpointError: a stage has not run.
    """
    space = _json(artifacts / "sample" / "space.json")
    candidates = _candidates(artifacts / "score" / "candidates.parquet")
    winner = min(candidates, key=lambda candidate: candidate.rank)
    groups, blocks = zip(space["groups"], winner.widths, strict=True), space.get("blocks", ())
    round_to = space.get("round_to", 1)
    path = artifacts / "score" / "diagnostics.json"
    diagnostics = _json(path) if path.exists() else {}
    if _ranked_by_accuracy(diagnostics) and not _reward(diagnostics):
        candidates = tuple(replace(candidate, score=candidate.accuracy) for candidate in candidates)
    checked, answers = artifacts / "export" / "files.json", artifacts / "finetune" / ANSWERS
    manifest, exported = (_json(artifacts / stage / "manifest.json") for stage in ("fetch", "export"))
    manifest["classes"] = manifest["classes"] or exported.get("classes", [])  # which only the network knows of
    return Results(
        metrics={path.parent.name: _json(path) for path in sorted(artifacts.glob("*/metrics.json"))},
        architecture=read_record(artifacts / "baseline"),
        manifest=manifest,
        dense_cost=space["dense"],
        groups=tuple(
            Group(group["name"], group["channels"], kept, multiple_of(round_to, group["name"], group.get("step", 1)))
            for group, kept in groups
        ),
        frozen=tuple(space.get("frozen", ())),
        blocks=tuple(block["name"] for block in blocks),
        left_out=tuple(block["name"] for block in blocks if not any(winner.widths[g] for g in block["own"])),
        candidates=candidates,
        histories={stage: _history(artifacts / stage / "history.csv") for stage in ("baseline", "finetune")},
        parity=_json(artifacts / "export" / "parity.json"),
        latency=_json(artifacts / LATENCY),
        files=exported["files"],
        diagnostics=diagnostics,
        latency_budget=_json(artifacts / LATENCY_BUDGET) if (artifacts / LATENCY_BUDGET).exists() else None,
        comparability=read_comparability(artifacts / "baseline"),
        checked=_json(checked) if checked.exists() else {},
        answers=read_answers(answers) if answers.exists() else None,
    )


def _ranked_by_accuracy(diagnostics: Mapping[str, Any]) -> bool:
    """Whether a rung trained and labels decided: then scores of its rungs are in different units."""
    settings = diagnostics.get("settings", {})
    trained = any(rung.get("steps") for rung in settings.get("rungs", ()))
    return trained and Scorer.registry.get(settings["scorer"]["kind"], Scorer).needs_labels  # type: ignore[attr-defined]


def _reward(diagnostics: Mapping[str, Any]) -> dict[str, float]:
    """Costs with a weight in ``score.reward``."""
    weights = diagnostics.get("settings", {}).get("reward", {})
    return {cost: weight for cost, weight in weights.items() if weight}


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def _candidates(path: Path) -> tuple[Candidate, ...]:
    rows = pq.read_table(path).to_pylist()
    return tuple(
        Candidate(
            index=row["candidate"],
            widths=tuple(row["widths"]),
            macs=row["macs"],
            params=row["params"],
            score=row["score"],
            standard_error=row["standard_error"],
            accuracy=row["accuracy"],
            images=row["images"],
            rung=row["rung"],
            rank=row["rank"],
        )
        for row in rows
    )


def _history(path: Path) -> TrainingCurve:
    """A ``history.csv``; no file, or one without rows, is a training that did not happen."""
    rows: list[dict[str, str]] = []
    if path.exists():
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    return TrainingCurve(
        epoch=tuple(int(row["epoch"]) for row in rows),
        train_loss=tuple(float(row["train_loss"] or "nan") for row in rows),
        score=tuple(float(next(row[name] for name in _SCORES if name in row)) for row in rows),
        learning_rate=tuple(float(row.get("learning_rate") or "nan") for row in rows),
    )
