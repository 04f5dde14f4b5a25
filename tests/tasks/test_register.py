"""Registering on a real small network and an MLflow store of its own."""

import hashlib
import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from eyas.operations.fingerprint import Fingerprint
from eyas.operations.tracking import MlflowStore, model_registry
from tasks import source_version
from tasks.fingerprint import take_fingerprint
from tasks.record import open_store, start_run
from tasks.register import register_candidate
from tasks.source_version import SOURCE
from tasks.stage import write_json
from tests.tasks.registering import Setting, enter, write_lock


def test_version_carries_lineage_of_the_workspace(setting: Setting, root: Path) -> None:
    workspace = setting()
    version = enter(workspace)
    lineage = version.lineage
    assert lineage.dataset_hash == json.loads((root / "artifacts/fetch/manifest.json").read_text())["digest"]
    weights = (root / "artifacts/baseline/model.safetensors").read_bytes()
    assert lineage.baseline_sha256 == hashlib.sha256(weights).hexdigest()
    assert set(lineage.stage_keys) == {"fetch", "export"}
    assert version.metrics["finetune.test_accuracy"] == 0.5
    assert enter(workspace).number == version.number
    write_lock(root, "second")
    assert enter(workspace).number == str(int(version.number) + 1)
    write_lock(root, "first")


def test_a_version_carries_the_fingerprint_of_what_was_brought_also_when_it_is_found_again(
    setting: Setting, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.register.get_run_logger", lambda: logging.getLogger("test"))
    workspace, kept = setting(), root / "artifacts/fetch" / SOURCE
    before = take_fingerprint(workspace)

    def registered() -> Fingerprint | None:
        number = register_candidate.fn(start_run(workspace), workspace, "code")
        version = model_registry.get_version(open_store(workspace), workspace.params.register_.model, number)
        assert version.number == "1"
        return Fingerprint.from_tags(version.tags)

    assert registered() == replace(before, code="code")
    monkeypatch.setattr(source_version, "address_version", lambda *_: "the source has moved on")
    assert take_fingerprint(workspace).data != before.data
    assert registered() == replace(before, code="code")
    # Brought again, and found to be the same images: the version is known by the source's new version.
    was = kept.read_text()
    write_json(kept, {"train": "the source has moved on"})
    try:
        assert registered() == replace(take_fingerprint(workspace), code="code")
    finally:
        kept.write_text(was)


def test_open_store_follows_the_parameters(setting: Setting, root: Path) -> None:
    store: MlflowStore = open_store(setting())
    assert store.locks == root / "store"
