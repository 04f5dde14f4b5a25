import json
import os
import sqlite3
import uuid
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from sqlalchemy import event
from sqlalchemy.engine import Engine
from torch import nn

from eyas.deploy.exporters import Exporter
from eyas.operations import tracking
from eyas.operations.lineage import Lineage
from eyas.storage.digests import file_sha256
from tests.support.workspace import write_workspace


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> tracking.MlflowStore:
    """One store for all tests: SQLite, whose tables take a second, or the fresh server EYAS_TEST_MLFLOW names."""
    folder = tmp_path_factory.mktemp("mlflow")
    event.listen(Engine, "connect", _trust_the_power_supply)
    uri = os.environ.get("EYAS_TEST_MLFLOW") or f"sqlite:///{folder / 'mlflow.db'}"
    return tracking.open_store(folder, uri=uri, experiment=f"tests-{uuid.uuid4().hex[:8]}")


def _trust_the_power_supply(connection: object, _: object) -> None:
    """Let SQLite not wait for the disk after every one of the many small writes."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=OFF")


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    return write_workspace(tmp_path / "artifacts", candidates=12)


def small_network(seed: int, classes: int = 10) -> nn.Module:
    torch.manual_seed(seed)
    body = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(4 * 64, classes)).eval()


@pytest.fixture(scope="session")
def onnx_files(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Two small networks of different weights as ONNX, by seed."""
    folder = tmp_path_factory.mktemp("onnx")
    onnx = Exporter.parse("onnx")
    return {seed: onnx(small_network(seed), torch.zeros(1, 1, 8, 8), folder / f"{seed}.onnx") for seed in (1, 2)}


@pytest.fixture
def make_export(tmp_path: Path, onnx_files: dict[int, Path]):
    """Writes ``artifacts/export`` around one of the networks, as the export stage does."""

    def make(seed: int) -> Path:
        folder = tmp_path / f"export{seed}"
        folder.mkdir(exist_ok=True)
        for name in ("model.onnx", "dense.onnx"):
            (folder / name).write_bytes(onnx_files[seed].read_bytes())
        (folder / "plan.json").write_text(json.dumps({"seed": seed}))
        write_manifest(folder)
        return folder

    return make


def write_manifest(folder: Path) -> None:
    listed = [path for path in sorted(folder.iterdir()) if path.name != "manifest.json"]
    files = {path.name: {"sha256": file_sha256(path), "bytes": path.stat().st_size} for path in listed}
    (folder / "manifest.json").write_text(json.dumps({"version": 1, "files": files, "input": {"shape": [1, 8, 8]}}))


@pytest.fixture
def make_lineage(store: tracking.MlflowStore):
    def make(stage_keys: Mapping[str, str], **facts: object) -> Lineage:
        run_id = tracking.start_pipeline(store, "default")
        known = {"dataset_hash": "d" * 64, "baseline_sha256": "b" * 64, "params_digest": "p" * 64, **facts}
        return Lineage(run_id=run_id, stage_keys=stage_keys, **known)  # type: ignore[arg-type]

    return make
