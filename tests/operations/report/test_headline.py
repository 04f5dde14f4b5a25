import json
from pathlib import Path

import pytest

from eyas.data.comparability import Comparability
from eyas.operations.report import gist_of, read_results
from eyas.operations.report.headline import headline_metrics, result_markdown
from tests.support.workspace import write_workspace


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    folder = write_workspace(tmp_path / "artifacts", candidates=12)
    known = metrics_of(folder, "export") | {"agreement": 0.99}
    (folder / "export/metrics.json").write_text(json.dumps(known))
    return folder


def metrics_of(artifacts: Path, stage: str) -> dict[str, float]:
    content: dict[str, float] = json.loads((artifacts / stage / "metrics.json").read_text())
    return content


def test_the_numbers_that_count(artifacts: Path) -> None:
    numbers = headline_metrics(read_results(artifacts))
    assert set(numbers) == {
        "test_accuracy", "accuracy_drop", "accuracy_drop_low", "accuracy_drop_high", "macs_ratio", "params",
        "file_bytes", "latency_ms", "speedup", "score", "agreement",
    }  # fmt: skip
    dense, pruned = (metrics_of(artifacts, stage)["test_accuracy"] for stage in ("baseline", "finetune"))
    assert (numbers["test_accuracy"], numbers["agreement"]) == (pruned, 0.99)
    assert numbers["accuracy_drop"] == pytest.approx(dense - pruned, abs=1e-4)
    assert numbers["accuracy_drop_low"] < numbers["accuracy_drop"] < numbers["accuracy_drop_high"]
    times = json.loads((artifacts / "latency.json").read_text())["milliseconds"]
    assert numbers["speedup"] * numbers["latency_ms"] == pytest.approx(times["dense"]["median"])
    assert 0 < numbers["macs_ratio"] < 1


def test_what_does_not_compare_is_left_out(artifacts: Path) -> None:
    Comparability(False, "the checkpoint may have seen them").write(artifacts / "baseline")
    results = read_results(artifacts)
    assert not any(name.startswith("accuracy_drop") for name in headline_metrics(results))
    assert "are not comparable: the checkpoint may have seen them." in result_markdown(results, {})


def test_the_page_begins_with_the_verdict(artifacts: Path) -> None:
    results = read_results(artifacts)
    assert result_markdown(results, {}).startswith(f"**{gist_of(results, {}).sentence}.**")
    assert "| test accuracy | 97.22 % |" in result_markdown(results, {})
