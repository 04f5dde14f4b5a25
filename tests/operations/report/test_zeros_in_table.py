"""What a sparsity pattern brings and does not bring stands in the result's table."""

import json
from pathlib import Path

import pytest

from eyas.operations.report import read_results, result_rows
from tests.support.workspace import write_workspace

ROWS = ("non-zero weights", "MACs with them", "the same, gzipped")


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    return write_workspace(tmp_path / "artifacts", candidates=12)


def add(path: Path, **numbers: int) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **numbers}))


def rows(artifacts: Path) -> dict[str, tuple[str, str, str]]:
    table = result_rows(read_results(artifacts))
    return {row.name: (row.dense, row.pruned, row.change) for row in table if row.name in ROWS}


def test_without_a_pattern_there_are_no_rows(artifacts: Path) -> None:
    assert rows(artifacts) == {}


def test_weights_macs_and_compressed_size_are_told(artifacts: Path) -> None:
    add(artifacts / "finetune/metrics.json", layer_weights=40_000, nonzero_weights=10_000, nonzero_macs=120_000)
    add(artifacts / "export/metrics.json", dense_gzip_bytes=300_000, model_gzip_bytes=75_000)
    assert rows(artifacts) == {
        "non-zero weights": ("", "10 k", "25.0 % of its weights"),
        "MACs with them": ("", "120 k", "no faster in ONNX Runtime"),
        "the same, gzipped": ("300 kB", "75 kB", "−75.0 %"),
    }
