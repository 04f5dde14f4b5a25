"""A small synthetic workspace: files in the form the stages leave them, made without running any."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eyas.operations.report import LATENCY

WIDTHS = {"stem": 16, "layer1.0.conv1": 16, "layer2": 32, "layer2.0.conv1": 32, "layer3": 64, "layer3.0.conv1": 64}


def write_workspace(
    artifacts: Path, *, candidates: int = 60, rungs: tuple[int, ...] = (256, 1024), seed: int = 0
) -> Path:
    """Write every file the report reads; returns ``artifacts``."""
    random = np.random.default_rng(seed)
    _fetch(artifacts)
    _json(artifacts / "baseline/architecture.json", _architecture())
    length = {"epochs": 15, "steps": 900, "steps_per_epoch": 60, "batch_size": 32, "score_images": 210}
    _json(artifacts / "baseline/metrics.json", {"test_accuracy": 0.9722, "score_accuracy": 0.9801, **length})
    _history(artifacts / "baseline/history.csv", epochs=15, start=0.6, random=random)
    (artifacts / "baseline/model.safetensors").write_bytes(b"dense")
    _json(artifacts / "sample/space.json", _space())
    _json(artifacts / "sample/metrics.json", {"candidates": candidates})
    rows = _candidates(candidates, rungs, random)
    (artifacts / "score").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), artifacts / "score/candidates.parquet")
    _json(artifacts / "score/metrics.json", {"best_score": max(row["score"] for row in rows)})
    before = {"recalibrated_score_accuracy": 0.71, "score_gained": 60, "score_lost": 4}
    before |= {"recalibrated_test_accuracy": 0.7, "finetuning_gained": 100, "finetuning_lost": 4}
    paired = {"test_images": 360, "test_gained": 3, "test_lost": 5}
    _json(artifacts / "finetune/metrics.json", {"test_accuracy": 0.9667, **before, **paired, **length})
    _history(artifacts / "finetune/history.csv", epochs=15, start=0.85, random=random, before=0.71)
    _export(artifacts / "export")
    _latency(artifacts / LATENCY)
    return artifacts


def _json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _fetch(artifacts: Path) -> None:
    splits = {name: {str(label): count for label in range(10)} for name, count in SPLITS.items()}
    image = {"channels": 1, "size": 8, "resize": None}
    content = {
        "version": 1, "source": {"train": "builtin:digits"}, "formats": {}, "classes": [str(n) for n in range(10)],
        "image": image, "mean": [0.3], "std": [0.4], "splits": splits, "files": {}, "index": {}, "digest": "ab" * 32,
    }  # fmt: skip
    _json(artifacts / "fetch/manifest.json", content)
    _json(artifacts / "fetch/metrics.json", {"images": 1797})


SPLITS = {"train": 93, "calibration": 14, "score": 21, "test": 36}


def _architecture() -> dict[str, object]:
    arguments = {"name": "resnet8", "num_classes": 10}
    return {
        "architecture": "models:build",
        "arguments": arguments,
        "input_shape": [1, 8, 8],
        "seen_by_checkpoint": False,
    }


def _space() -> dict[str, object]:
    groups = [{"name": name, "channels": width, "step": 1, "layers": [name]} for name, width in WIDTHS.items()]
    frozen = [{"name": "fc", "layers": ["fc"], "reason": "the network's output: its classes stay"}]
    cost = {"macs": 1_240_000, "params": 78_000, "activation_bytes": 40_000}
    return {"groups": groups, "frozen": frozen, "dense": cost}


def _candidates(count: int, rungs: tuple[int, ...], random: np.random.Generator) -> list[dict[str, object]]:
    scores = -0.4 - np.abs(random.standard_normal(count)) * 0.4
    order = np.argsort(-scores)
    rows = []
    for index in range(count):
        rank = int(np.flatnonzero(order == index)[0])
        widths = [int(random.integers(width // 3, width)) for width in WIDTHS.values()]
        rows.append(
            {
                "candidate": index,
                "widths": widths,
                "macs": int(620_000 * (1 + 0.005 * random.uniform(-1, 1))),
                "params": 40_000,
                "activation_bytes": 20_000,
                "score": float(scores[index]),
                "standard_error": 0.03,
                "accuracy": 0.8,
                "cross_entropy": -float(scores[index]),
                "images": rungs[-1] if rank < count // 4 else rungs[0],
                "rung": len(rungs) - 1 if rank < count // 4 else 0,
                "rank": rank + 1,
            }
        )
    return rows


def _history(path: Path, epochs: int, start: float, random: np.random.Generator, before: float | None = None) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "train_loss", "score_accuracy", "learning_rate"])
        if before is not None:
            writer.writerow([0, "", before, ""])
        for epoch in range(1, epochs + 1):
            accuracy = 0.98 - (0.98 - start) * np.exp(-epoch / 3) + random.normal() * 0.003
            writer.writerow([epoch, 2 * np.exp(-epoch / 4) + 0.05, accuracy, 0.1 * (1 - epoch / epochs)])


def _export(folder: Path) -> None:
    result = {"images": 360, "max_difference": 4.8e-6, "relative_difference": 3e-7, "agreement": 1.0}
    result |= {"accuracy": 0.97, "bytes": 161_000}
    parity = {"slicing": {"max_difference": 1e-6, "relative_difference": 1e-7}}
    _json(folder / "parity.json", parity | {"files": {"dense.onnx": result, "model.onnx": result}})
    files = {"dense.onnx": 315_000, "model.onnx": 161_000}
    _json(folder / "manifest.json", {"files": {name: {"sha256": "0" * 64, "bytes": n} for name, n in files.items()}})
    _json(folder / "metrics.json", {"model_bytes": 161_000, "churn": 0.022})


def _latency(path: Path) -> None:
    times = {"dense": {"median": 0.084, "q25": 0.083, "q75": 0.086, "p95": 0.1}}
    times |= {"model": {"median": 0.061, "q25": 0.06, "q75": 0.063, "p95": 0.08}}
    latency = {"milliseconds": times, "runs": 200, "batch": 1, "threads": 1, "runtime": "onnxruntime 1.31.1"}
    _json(path, latency | {"cpu": "Example CPU @ 2.1 GHz", "cores": 2})
