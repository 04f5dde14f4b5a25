"""The report's section on promotion: the gates themselves, asked with what the stages left."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from eyas.data.comparability import Comparability
from eyas.operations.report import read_results, write_report
from eyas.operations.report.gate_rows import gate_lines, gate_rows
from tests.support.workspace import write_workspace


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    return write_workspace(tmp_path / "artifacts", candidates=20)


def outcomes(artifacts: Path, params: Mapping[str, object]) -> dict[str, str]:
    return {row.name: row.outcome for row in gate_rows(read_results(artifacts), params)}


def lines(artifacts: Path, params: Mapping[str, object]) -> list[str]:
    results = read_results(artifacts)
    return gate_lines(results, gate_rows(results, params))


@pytest.mark.parametrize(
    ("field", "holding", "refusing"),
    [
        ("max_drop", 0.006, 0.005),  # 97.22 to 96.67 %
        ("min_accuracy", 0.96, 0.97),
        ("max_latency", 0.061, 0.06),
        ("max_bytes", 161_000, 160_999),
    ],
)
def test_each_limit_decides_by_the_measured_number(
    artifacts: Path, field: str, holding: float, refusing: float
) -> None:
    name = field.split("_", 1)[1]
    assert outcomes(artifacts, {"promote": {field: holding}})[name] == "holds"
    params = {"promote": {field: refusing}}
    assert outcomes(artifacts, params)[name] == "refuses"
    head, *_ = lines(artifacts, params)
    assert head == f"**`eyas promote` refuses this network as it is measured here**, by the gate `{name}`."


def test_parity_is_held_against_the_limits_of_the_export_with_its_numbers(artifacts: Path) -> None:
    assert outcomes(artifacts, {"export": {"max_difference": 1e-6}})["parity"] == "refuses"
    assert outcomes(artifacts, {"export": {"max_difference": 1e-5, "min_agreement": 1.0}})["parity"] == "holds"
    parity, *_ = gate_rows(read_results(artifacts), {})
    assert parity.reason.endswith("same answer to 100 % of 360 images, largest difference 4.8e−06")
    assert "parity" not in outcomes(artifacts, {"promote": {"require_parity": False}})


def test_what_needs_a_champion_is_not_decided(artifacts: Path) -> None:
    promote = {"max_churn": 0.1, "min_gain": -0.02, "preset": "better"}
    rows = {row.name: row for row in gate_rows(read_results(artifacts), {"promote": promote})}
    waiting = {name: row.reason.split(":")[0] for name, row in rows.items() if row.outcome == "not decided"}
    assert waiting == {
        "churn": "other answers than the champion's on at most 10 % of the test images",
        "gain": "a gain over the champion of at least −2 points",
        "champion": "more accurate than the champion",
    }
    assert set(outcomes(artifacts, {"promote": {"min_gain": 0.0}})) == {"parity", "drop", "gain"}


def test_gates_and_verdict_are_told_apart(artifacts: Path) -> None:
    head, beside, later = lines(artifacts, {})
    assert head == "**Every gate that needs no champion holds**: they let this network pass as it is measured here."
    assert beside.startswith("Its verdict is undecided: ")
    assert "registers its network as a candidate whatever stands here" in later
    assert len(lines(artifacts, {"promote": {"max_drop": 0.001}})) == 2


def test_a_checkpoint_that_the_pruned_network_surely_beats_refuses(artifacts: Path) -> None:
    finetune = json.loads((artifacts / "finetune/metrics.json").read_text())
    finetune |= {"test_accuracy": 0.99, "test_gained": 40, "test_lost": 1}
    (artifacts / "finetune/metrics.json").write_text(json.dumps(finetune))
    assert "sound_dense" not in outcomes(artifacts, {})
    baseline = json.loads((artifacts / "baseline/metrics.json").read_text()) | {"epochs": 0}
    (artifacts / "baseline/metrics.json").write_text(json.dumps(baseline))
    assert outcomes(artifacts, {})["sound_dense"] == "refuses"


def test_what_is_not_comparable_refuses_and_says_why(artifacts: Path) -> None:
    Comparability(False, "the checkpoint may have seen the test images").write(artifacts / "baseline")
    rows = {row.name: row for row in gate_rows(read_results(artifacts), {})}
    assert rows["comparable_with_dense"].outcome == "refuses"
    assert "the checkpoint may have seen the test images" in rows["comparable_with_dense"].reason
    assert "drop" not in rows


def test_both_pages_show_every_gate(artifacts: Path) -> None:
    params = {"promote": {"max_bytes": 1000}}
    page = write_report(artifacts, params=params)
    section = page.read_text().split("## Promotion\n")[1].split("\n## ")[0]
    shown = page.with_suffix(".html").read_text().split('<section id="promotion">')[1].split("</section>")[0]
    shown = shown.replace("\N{NO-BREAK SPACE}", " ")
    for row in gate_rows(read_results(artifacts), params):
        assert f"| {row.name} | {row.outcome} | {row.reason} |" in section
        assert f'<th>{row.name}</th><td class="{row.outcome.replace(" ", "-")}">{row.outcome}</td>' in shown
    for line in ("refuses this network as it is measured here", "registers its network as a candidate"):
        assert line in section
        assert line in shown
