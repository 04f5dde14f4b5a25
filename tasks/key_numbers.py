"""What each stage came to, in a few words, for whoever watches a run."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from eyas.data.tasks import deciding
from eyas.operations.report.result_table import count, percent, signed, small

Metrics = Mapping[str, Any]


def key_numbers(stage: str, artifacts: Path) -> str:
    """Of a stage that has run; empty for one that has none of the numbers."""
    path = artifacts / stage / "metrics.json"
    if stage not in _WORDS or not path.exists():
        return ""
    metrics = json.loads(path.read_text())
    try:
        return _WORDS[stage](metrics)
    except KeyError:  # another kind of network has other numbers
        return ""


def _fetch(metrics: Metrics) -> str:
    uses = {"train": "train", "calibration": "calibrate", "score": "score", "test": "test"}
    known = f"{metrics['classes']} classes" if metrics["classes"] else "no labels"
    return f"{', '.join(f'{metrics[part]:,} {use}' for part, use in uses.items())}; {known}"


def _trained(metrics: Metrics) -> str:
    macs = f"{count(metrics['macs'])} MACs"
    try:
        measure, value = deciding(metrics, "test_")
    except KeyError:  # a dense network that nothing is known of but its answers
        return macs
    return f"test {measure} {percent(value)}, {macs}"


def _sample(metrics: Metrics) -> str:
    low, high = (count(metrics[f"macs_{end}"]) for end in ("min", "max"))
    number, most = metrics["candidates"], metrics.get("candidates_at_most", 0)
    candidates = f"first {number:,} of {most:,} candidates" if most > number else f"{number:,} candidates"
    return f"{candidates}, {low} to {high} MACs, {metrics['groups']} groups"


def _score(metrics: Metrics) -> str:
    uniform = f", uniform widths {signed(metrics['uniform_score'])}" if "uniform_score" in metrics else ""
    return f"best of the last rung {signed(metrics['winner_score'])}{uniform}"


def _export(metrics: Metrics) -> str:
    size, difference = count(metrics["model_bytes"]), metrics["max_difference"]
    return f"{size}B, as PyTorch on {percent(metrics['agreement'])}, logits within {small(difference)}"


_WORDS: dict[str, Callable[[Metrics], str]] = {
    "fetch": _fetch,
    "baseline": _trained,
    "sample": _sample,
    "score": _score,
    "finetune": _trained,
    "export": _export,
}
