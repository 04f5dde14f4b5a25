"""Steps of the tests that register and promote: a lock file, a version, a network that is worse."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
import yaml

import eyas
from eyas.data import open_dataset
from eyas.deploy.exported_model import ExportedModel
from eyas.deploy.exporters import Exporter
from eyas.operations.tracking import model_registry
from eyas.storage.digests import file_sha256
from tasks.record import start_run
from tasks.register import register, workspace_lineage
from tasks.stage import write_json
from tasks.tracking_store import candidate_alias, open_store
from tasks.workspace import Workspace

Setting = Callable[..., Workspace]


def write_lock(root: Path, digest: str) -> None:
    stages = {
        name: {"cmd": f"python -m tasks.{name}", "deps": [{"path": "code.py", "md5": digest}]}
        for name in ("fetch", "export")
    }
    (root / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}))


def enter(workspace: Workspace) -> model_registry.Version:
    lineage = workspace_lineage(start_run(workspace), workspace)
    alias = candidate_alias(workspace)
    return register(open_store(workspace), workspace.params, workspace.artifacts, lineage, alias=alias)


def spoil(workspace: Workspace) -> None:
    """Let ``export`` hold a network that answers at random, with a manifest and a record that fit."""
    folder = workspace.artifacts / "export"
    network = eyas.load(workspace.artifacts / "finetune")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    Exporter.parse("onnx")(network, torch.zeros(1, 1, 8, 8), folder / "model.onnx")
    manifest = json.loads((folder / "manifest.json").read_text())
    facts = {"sha256": file_sha256(folder / "model.onnx"), "bytes": (folder / "model.onnx").stat().st_size}
    manifest["files"]["model.onnx"] = facts
    write_json(folder / "manifest.json", manifest)
    write_accuracy(workspace.artifacts, "finetune", "model.onnx")


def write_accuracy(artifacts: Path, stage: str, file: str, **paired: float) -> None:
    """Record for a stage what an exported file reaches on the test images."""
    test = open_dataset(artifacts / "fetch").split("test")
    answers = ExportedModel.open(artifacts / "export").answers(test.images(), file)
    metrics = artifacts / stage / "metrics.json"
    known = json.loads(metrics.read_text()) if metrics.exists() else {}
    accuracy = float((answers == test.labels.numpy()).mean())
    write_json(metrics, {**known, "test_accuracy": accuracy, **paired})


def aliases(workspace: Workspace) -> dict[str, str]:
    """As MLflow itself tells them."""
    model = open_store(workspace).client.get_registered_model(workspace.params.register_.model)
    return {alias: str(number) for alias, number in model.aliases.items()}
