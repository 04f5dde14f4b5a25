"""What Prefect makes of a flow file that it loads by its path, as a worker does."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flows.flow_decorator import eyas_flow, run_name

ROOT = Path(__file__).resolve().parents[2]
LOAD = """
import json, os, sys
from prefect.flows import load_flow_from_entrypoint
from prefect.settings import PREFECT_HOME
flow = load_flow_from_entrypoint(sys.argv[1], use_placeholder_flow=False)
hooks = [hook.__name__ for hook in (*flow.on_failure_hooks, *flow.on_crashed_hooks, *flow.on_cancellation_hooks)]
print(json.dumps([flow.name, flow.persist_result, hooks, str(PREFECT_HOME.value())]))
"""


@pytest.mark.parametrize("name", ["pipeline", "retrain", "adapt", "promote", "rollback"])
def test_a_flow_loaded_by_its_path_keeps_its_state_in_the_checkout(name: str, tmp_path: Path) -> None:
    """Prefect is imported long before the file, and has read its settings by then."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    environment |= {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, f"flows/{name}.py:{name}"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    home = str(ROOT / ".eyas" / "prefect")
    expected = [f"eyas-{name}", False, ["tell_ending"] * 3, home]
    assert json.loads(done.stdout.splitlines()[-1]) == expected


@pytest.mark.parametrize(
    ("flow", "parameters", "name"),
    [
        ("pipeline", {}, "run eyas-digits · 50 % MACs"),
        ("pipeline", {"overrides": ["sample.budget.macs=0.25"]}, "run eyas-digits · 25 % MACs"),
        ("pipeline", {"overrides": ["no.such=field"]}, "run params+no.such=field"),
        ("pipeline", {"params_file": "digits.yaml"}, "run digits"),
        ("retrain", {"params_file": "configs/cifar10_resnet20.yaml"}, "retrain cifar10_resnet20 · 50 % MACs"),
        ("retrain", {"params_file": "../elsewhere/mine.yaml", "overrides": ["runtime.threads=1"]}, "retrain mine"),
        ("promote", {"overrides": ["score.seed=3"]}, "promote eyas-digits · 50 % MACs · score.seed=3"),
        ("rollback", {"params_file": "x.yaml", "name": "mine"}, "rollback mine"),
    ],
)
def test_a_run_is_called_after_command_profile_and_budget(flow: str, parameters: dict[str, Any], name: str) -> None:
    assert run_name(flow, parameters) == name


@pytest.mark.usefixtures("prefect_server")
def test_prefect_shows_the_run_under_that_name() -> None:
    from prefect.runtime import flow_run

    @eyas_flow
    def retrain(params_file: str = "params.yaml", name: str | None = None) -> str:
        return str(flow_run.name)

    assert retrain("configs/cifar10_resnet20.yaml") == "retrain cifar10_resnet20 · 50 % MACs"
    assert retrain(name="mine") == "retrain mine · 50 % MACs"
