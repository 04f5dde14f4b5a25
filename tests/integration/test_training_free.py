"""The configuration that trains nothing, as a user runs it: to the registry and through the gates."""

import json
import re

import pytest

from tests.integration.conftest import Checkout

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
OPTIONS = ["--params", "configs/digits_training_free.yaml", "--set", "sample.budget.macs=0.7"]


def test_a_run_without_training_is_told_as_such_registered_and_promoted(checkout: Checkout) -> None:
    options = [*OPTIONS, "--set", "baseline.epochs=12", "--set", "sample.candidates=40", "--name", "free"]
    printed = checkout.run("flows", "run", *options, "--verbose", timeout=600)
    assert "the pruned network was not trained (finetune.epochs is 0)" in printed
    assert not re.search(r"train longer|rule of thumb|still improving in its last epoch \(0\)", printed)
    assert "layers refitted" in printed
    artifacts = checkout.folder / "workspaces" / "free" / "artifacts"
    dense, small = (json.loads((artifacts / name / "metrics.json").read_text()) for name in ("baseline", "finetune"))
    assert small["test_accuracy"] > dense["test_accuracy"] - 0.05
    assert small["refitted_layers"] > 0
    assert (small["steps"], small["best_epoch"]) == (0, 0)
    page = (artifacts / "report" / "report.md").read_text()
    assert "the pruned network was not trained" in page
    printed = checkout.run("flows", "promote", *options, "--set", "promote.max_drop=0.1")
    assert "version 1 promoted" in printed
