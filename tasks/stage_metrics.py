"""The numbers that the stages left."""

import json
from pathlib import Path


def stage_metrics(artifacts: Path) -> dict[str, float]:
    """Every stage's ``metrics.json`` as ``<stage>.<name>``."""
    metrics: dict[str, float] = {}
    for path in sorted(artifacts.glob("*/metrics.json")):
        numbers = json.loads(path.read_text())
        metrics |= {f"{path.parent.name}.{name}": value for name, value in numbers.items()}
    return metrics
