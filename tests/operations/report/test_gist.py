"""The first sentence of every page: verdict and gates together."""

import json
from pathlib import Path
from typing import Any

import pytest

from eyas.data.comparability import Comparability
from eyas.operations.report import Gist, gist_of, read_results
from tests.support.workspace import write_workspace


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    return write_workspace(tmp_path / "artifacts", candidates=20)


def gist(artifacts: Path, counts: dict[str, float] | None = None, **promote: Any) -> Gist:
    path = artifacts / "finetune/metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | (counts or {})))
    return gist_of(read_results(artifacts), {"promote": promote})


def test_undecided_and_let_pass(artifacts: Path) -> None:
    came = gist(artifacts)
    assert came.sentence == (
        "Undecided, but the gates let it pass: no loss beyond 5 points was measured; "
        "360 test images cannot tell a loss above 1 point from none"
    )
    assert not came.refused


def test_a_gain_is_no_loss(artifacts: Path) -> None:
    came = gist(artifacts, {"test_gained": 6, "test_lost": 5})
    assert came.why.startswith("no loss was measured; 360 test images")


def test_a_refusing_gate_is_told_with_its_number(artifacts: Path) -> None:
    came = gist(artifacts, max_drop=0.005)
    assert came.refused
    assert came.sentence == (
        "Undecided, and the gates refuse it: loss of accuracy against the dense network 0.55 points, "
        "allowed at most 0.5 points (promote.max_drop)"
    )
    assert gist(artifacts, max_drop=0.005, max_bytes=1).why.endswith("; and 1 more, see below")


def test_a_loss_that_the_gates_allow(artifacts: Path) -> None:
    lost = {"test_gained": 1, "test_lost": 15}
    assert gist(artifacts, lost).sentence == "Accuracy lost, yet the gates let it pass: they allow a loss of 5 points"


def test_what_does_not_compare_is_refused_and_says_why(artifacts: Path) -> None:
    Comparability(False, "the checkpoint may have seen them").write(artifacts / "baseline")
    came = gist(artifacts)
    assert came.head == "No verdict, but the gates refuse it"
    assert came.why.endswith("the checkpoint may have seen them")


def test_a_gate_that_is_not_asked_for_lets_nothing_pass(artifacts: Path) -> None:
    came = gist(artifacts, max_drop=None, require_parity=False)
    assert came.head == "Undecided, but no gate is asked of it here"
    assert "points was measured" not in came.why


def test_a_limit_that_is_hardly_missed_is_not_told_as_met(artifacts: Path) -> None:
    came = gist(artifacts, max_drop=0.00549)
    assert came.why.startswith("loss of accuracy against the dense network just over 0.55 points, allowed")
