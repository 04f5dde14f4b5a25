"""Registering on a real small network and an MLflow store of its own."""

import json
from pathlib import Path

from eyas.lineage import file_sha256
from eyas.tracking import Store
from tasks.record import open_store
from tests.tasks.registering import Setting, enter, write_lock


def test_version_carries_lineage_of_the_workspace(setting: Setting, root: Path) -> None:
    workspace = setting()
    version = enter(workspace)
    lineage = version.lineage
    assert lineage.dataset_hash == json.loads((root / "artifacts/fetch/manifest.json").read_text())["digest"]
    assert lineage.baseline_sha256 == file_sha256(root / "artifacts/baseline/model.safetensors")
    assert set(lineage.stage_keys) == {"fetch", "export"}
    assert version.metrics["finetune.test_accuracy"] == 0.5
    assert enter(workspace).number == version.number
    write_lock(root, "second")
    assert enter(workspace).number == str(int(version.number) + 1)
    write_lock(root, "first")


def test_open_store_follows_the_parameters(setting: Setting, root: Path) -> None:
    store: Store = open_store(setting())
    assert store.locks == root / "store"
