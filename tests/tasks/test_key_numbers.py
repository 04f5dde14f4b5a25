"""The few words beside a stage's tick."""

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.key_numbers import key_numbers


@pytest.mark.parametrize(
    ("stage", "metrics", "words"),
    [
        (
            "fetch",
            {"train": 1200, "calibration": 4, "score": 3, "test": 2, "classes": 10},
            "1,200 train, 4 calibrate, 3 score, 2 test; 10 classes",
        ),
        ("baseline", {"test_accuracy": 0.9971, "macs": 747136}, "test accuracy 99.71 %, 747 k MACs"),
        (
            "sample",
            {"candidates": 200, "macs_min": 370032, "macs_max": 377264, "groups": 6},
            "200 candidates, 370 k to 377 k MACs, 6 groups",
        ),
        (
            "sample",
            {"candidates": 64, "candidates_at_most": 200, "macs_min": 370032, "macs_max": 377264, "groups": 6},
            "first 64 of 200 candidates, 370 k to 377 k MACs, 6 groups",
        ),
        (
            "score",
            {"winner_score": -0.05893, "candidates": 200, "uniform_score": -0.1153},
            "best of the last rung −0.0589, uniform widths −0.1153",
        ),
        ("score", {"winner_score": -0.05893, "candidates": 200}, "best of the last rung −0.0589"),
        ("finetune", {"test_accuracy": 0.5, "macs": 375000}, "test accuracy 50.00 %, 375 k MACs"),
        (
            "export",
            {"model_bytes": 229461, "agreement": 1.0, "max_difference": 7.15e-6},
            "229 kB, as PyTorch on 100.00 %, logits within 7.2e−06",
        ),
        ("finetune", {"mean_iou": 0.5}, ""),
        ("other", {}, ""),
    ],
)
def test_words(tmp_path: Path, stage: str, metrics: dict[str, Any], words: str) -> None:
    (tmp_path / stage).mkdir()
    (tmp_path / stage / "metrics.json").write_text(json.dumps(metrics))
    assert key_numbers(stage, tmp_path) == words


def test_a_stage_without_numbers_has_no_words(tmp_path: Path) -> None:
    assert not key_numbers("fetch", tmp_path)
