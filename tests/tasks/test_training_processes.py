"""A stage that trains, by two processes: one result, written once, and what cannot start is told before."""

import csv
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from eyas.config import RuntimeParams, parse_params
from eyas.errors import EyasError, MissingExtraError, ParameterError
from tasks.finetune import finetune
from tasks.preflight_names import check_shared_batches
from tasks.training_processes import check_processes, start_processes

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = {
    "baseline": {"architecture": "resnet8", "arguments": {"width": 8, "in_channels": 1}},
    "finetune": {
        "epochs": 3,
        "recipe": {"kind": "sgd", "batch_size": 64, "learning_rate": 0.05},
        "gradual": {"cuts": 2},
        "recovery": "least_squares",
    },
    "runtime": {"device": "cpu", "state": "state", "threads": 1},
}


def prepare(folder: Path, artifacts: Path) -> None:
    for name in ("fetch", "baseline", "sample", "score"):
        shutil.copytree(artifacts / name, folder / "artifacts" / name)
    (folder / "params.yaml").write_text(yaml.safe_dump(SECTIONS))


def run_stage(folder: Path, **runtime: int) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path, "EYAS_RUNTIME": json.dumps(runtime)}
    return subprocess.run(
        [sys.executable, "-m", "tasks.finetune"], cwd=folder, env=environment, capture_output=True, text=True,
        check=False, timeout=250,
    )  # fmt: skip


def read_outputs(folder: Path) -> tuple[list[dict[str, float]], list[str]]:
    """The history of the fine-tuning, and the names of its files."""
    assert not list((folder / "state").rglob("*.pt"))
    with (folder / "artifacts/finetune/history.csv").open() as file:
        history = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    return history, sorted(path.name for path in (folder / "artifacts/finetune").iterdir())


def test_two_processes_finetune_as_one_does(
    pruned_digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lightning_fabric", reason="Fabric is an extra: pip install 'eyas[distributed]'")
    one, two = tmp_path / "1", tmp_path / "2"
    for folder in (one, two):
        prepare(folder, pruned_digits)
    done = run_stage(two, processes=2)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"event": "progress"')]
    together, same_files = read_outputs(two)
    told: list[tuple[int, int]] = []
    monkeypatch.chdir(one)
    metrics = finetune(parse_params(SECTIONS), Path("artifacts"), lambda *report: told.append(report[:2]))
    alone, files = read_outputs(one)
    assert same_files == sorted([*files, "metrics.json"])
    assert json.loads((two / "artifacts/finetune/metrics.json").read_text()).keys() == metrics.keys()
    assert [(event["done"], event["total"]) for event in events] == told
    assert len(alone) == 3
    for row, other in zip(alone, together, strict=True):
        assert other["train_loss"] == pytest.approx(row["train_loss"], abs=1e-3)
        assert other["score_accuracy"] == pytest.approx(row["score_accuracy"], abs=0.011)


def fabric(monkeypatch: pytest.MonkeyPatch, *, installed: bool) -> None:
    find = importlib.util.find_spec

    def find_spec(name: str, *further: str) -> object:
        return (object() if installed else None) if name == "lightning_fabric" else find(name, *further)

    monkeypatch.setattr("importlib.util.find_spec", find_spec)


def test_one_process_needs_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    fabric(monkeypatch, installed=False)
    assert start_processes(RuntimeParams()).number == 1


def test_what_cannot_start_is_told_with_its_field(monkeypatch: pytest.MonkeyPatch) -> None:
    fabric(monkeypatch, installed=False)
    with pytest.raises(MissingExtraError, match=r"^lightning-fabric is not installed: pip install 'eyas\[dist"):
        check_processes(RuntimeParams(processes=2))
    fabric(monkeypatch, installed=True)
    monkeypatch.setenv("MASTER_ADDR", "10.0.0.1")
    for name in ("MASTER_PORT", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ParameterError, match=r"^runtime.nodes is 2: set MASTER_PORT, NODE_RANK in the environment"):
        check_processes(RuntimeParams(nodes=2, device="cpu"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ParameterError, match=r"^runtime.processes is 2, and this machine has 1 GPUs: .* set runtime"):
        check_processes(RuntimeParams(processes=2, device="cuda"))
    check_processes(RuntimeParams(processes=2, device="cpu"))


@pytest.mark.parametrize("section", ["baseline", "finetune"])
def test_a_recipe_that_cannot_share_a_batch_is_told_before_the_run(
    section: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fabric(monkeypatch, installed=True)
    guided = {section: {"recipe": {"kind": "sgd", "guidance": {"measure": "cka"}}}}
    alone = parse_params(guided | {"runtime": {"device": "cpu"}})
    several = parse_params(guided | {"runtime": {"device": "cpu", "processes": 2}})
    untrained = parse_params(
        guided | {"runtime": {"device": "cpu", "processes": 2}, "finetune": guided[section] | {"epochs": 0}}
    )
    check_shared_batches(alone, Path(), Path())
    with pytest.raises(EyasError, match=rf", {section}.recipe.guidance by cka\), .*leave runtime.processes at 1$"):
        check_shared_batches(several, Path(), Path())
    if section == "finetune":
        check_shared_batches(untrained, Path(), Path())
