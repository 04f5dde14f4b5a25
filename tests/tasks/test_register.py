"""Registering on a real small network and an MLflow store of its own."""

import hashlib
import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from eyas.errors import ChecksumError
from eyas.operations.fingerprint import Fingerprint
from eyas.operations.report import read_results
from eyas.operations.tracking import MlflowStore, Version, model_registry
from eyas.operations.tracking.adaptation_run import ADAPTED_FROM
from tasks import source_version
from tasks.fingerprint import code_files, take_fingerprint
from tasks.record import log_result, start_run
from tasks.register import moved_from, register_candidate, workspace_lineage
from tasks.source_version import SOURCE
from tasks.stage import write_json
from tasks.tracking_store import open_store
from tasks.workspace import Workspace
from tests.support.learning_sampler import Narrowing
from tests.tasks.registering import Setting, aliases, enter, write_lock


def test_version_carries_lineage_of_the_workspace(setting: Setting, root: Path) -> None:
    workspace = setting()
    version = enter(workspace)
    lineage = version.lineage
    assert lineage.dataset_hash == json.loads((root / "artifacts/fetch/manifest.json").read_text())["digest"]
    weights = (root / "artifacts/baseline/model.safetensors").read_bytes()
    assert lineage.baseline_sha256 == hashlib.sha256(weights).hexdigest()
    assert set(lineage.stage_keys) == {"fetch", "export"}
    recorded = json.loads((root / "artifacts/finetune/metrics.json").read_text())["test_accuracy"]
    assert version.metrics["finetune.test_accuracy"] == recorded
    assert enter(workspace).number == version.number
    write_lock(root, "second")
    assert enter(workspace).number == str(int(version.number) + 1)
    write_lock(root, "first")


def test_a_version_says_which_plugins_made_it(setting: Setting) -> None:
    workspace = setting()
    assert workspace_lineage("run", workspace).plugins == ""
    sample = workspace.params.sample.model_copy(update={"sampler": Narrowing()})
    own = replace(workspace, params=workspace.params.model_copy(update={"sample": sample}))
    assert workspace_lineage("run", own).plugins == "sampler narrowing of tests.support.learning_sampler"


def test_a_version_carries_the_fingerprint_of_what_was_brought_also_when_it_is_found_again(
    setting: Setting, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.register.get_run_logger", lambda: logging.getLogger("test"))
    workspace, kept = setting(), root / "artifacts/fetch" / SOURCE
    before = take_fingerprint(workspace)

    def registered() -> Fingerprint | None:
        number = register_candidate.fn(start_run(workspace), workspace, code_files(workspace))
        version = model_registry.get_version(open_store(workspace), workspace.params.register_.model, number)
        assert version.number == "1"
        return Fingerprint.from_tags(version.tags)

    assert registered() == before
    monkeypatch.setattr(source_version, "address_version", lambda *_: "the source has moved on")
    assert take_fingerprint(workspace).data != before.data
    assert registered() == before
    # Brought again, and found to be the same images: the version is known by the source's new version.
    was = kept.read_text()
    write_json(kept, {"train": "the source has moved on"})
    try:
        assert registered() == take_fingerprint(workspace)
    finally:
        kept.write_text(was)


def test_what_is_not_as_the_stages_made_it_is_not_registered(
    setting: Setting, root: Path, monkeypatch: pytest.MonkeyPatch, lock: str
) -> None:
    monkeypatch.setattr("tasks.register.get_run_logger", lambda: logging.getLogger("test"))
    workspace = setting()
    path = workspace.artifacts / "export/dense.onnx"
    content = yaml.safe_load(lock)
    entry = {"path": "artifacts/export/dense.onnx", "md5": hashlib.md5(path.read_bytes()).hexdigest()}
    content["stages"]["export"]["outs"] = [entry]
    (root / "dvc.lock").write_text(yaml.safe_dump(content))
    code, good = code_files(workspace), path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    try:
        with pytest.raises(ChecksumError, match="dense.onnx is not what export wrote"):
            register_candidate.fn(start_run(workspace), workspace, code)
    finally:
        path.write_bytes(good)
    content["stages"]["fetch"]["deps"] = [entry | {"md5": "0" * 32}]
    (root / "dvc.lock").write_text(yaml.safe_dump(content))
    with pytest.raises(ChecksumError, match="was altered between the stages: export wrote md5"):
        register_candidate.fn(start_run(workspace), workspace, code)
    (root / "dvc.lock").write_text(lock)
    before = {"stages": {}, "own": {"mypkg/net.py": "0" * 64}}
    with pytest.raises(ChecksumError, match=r"code changed while the stages ran \(mypkg/net.py is gone\): nothing was"):
        register_candidate.fn(start_run(workspace), workspace, before)
    assert aliases_or_none(workspace) == {}


def aliases_or_none(workspace: Workspace) -> dict[str, str]:
    store, model = open_store(workspace), workspace.params.register_.model
    return {} if not model_registry.list_versions(store, model) else aliases(workspace)


def test_a_version_tells_its_code_file_by_file(
    setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.register.get_run_logger", lambda: logging.getLogger("test"))
    workspace = setting()
    own = {"stages": {}, "own": {"mypkg/net.py": "0" * 64}}
    monkeypatch.setattr("tasks.register.code_files", lambda _: own)
    number = register_candidate.fn(start_run(workspace), workspace, own)
    store = open_store(workspace)
    version = model_registry.get_version(store, workspace.params.register_.model, number)
    assert model_registry.fetch_code(store, version, tmp_path / "one") == own
    fingerprint = {**version.tags, "eyas.fingerprint.code": "of other code"}
    assert model_registry.fetch_code(store, replace(version, tags=fingerprint), tmp_path / "two") == {}
    assert model_registry.fetch_code(store, replace(version, source="file:///nowhere"), tmp_path / "three") == {}


def test_open_store_follows_the_parameters(setting: Setting, root: Path) -> None:
    store: MlflowStore = open_store(setting())
    assert store.locks == root / "store"


def test_a_version_says_what_it_is_worth_also_when_it_is_found_again(
    setting: Setting, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.register.get_run_logger", lambda: logging.getLogger("test"))
    workspace, metrics = setting(), root / "artifacts/finetune/metrics.json"
    name, store = workspace.params.register_.model, open_store(workspace)
    run_id = start_run(workspace)

    def registered() -> tuple[str, str, str]:
        number = register_candidate.fn(run_id, workspace, code_files(workspace))
        entry = store.client.get_model_version(name, number)
        return number, entry.tags["eyas.verdict"], entry.description

    number, outcome, description = registered()
    assert (number, outcome) == ("1", "lost")
    assert "Accuracy lost, yet the gates let it pass" in description
    assert "−10.00 points against the dense network" in description
    assert "which is 36 of 360 test images (2 gained, 38 lost)" in description
    assert "loosen sample.budget" in description
    log_result(run_id, workspace, read_results(workspace.artifacts))
    run = store.client.get_run(run_id).data
    assert run.tags["eyas.verdict"] == "lost"
    assert run.tags["mlflow.note.content"] == description
    assert run.metrics["accuracy_drop"] == pytest.approx(0.1)
    assert run.metrics["accuracy_drop_low"] > 0
    assert store.client.get_registered_model(name).description == f"### Newest version: 1\n\n{description}"
    was = metrics.read_text()
    write_json(metrics, json.loads(was) | {"test_images": 3600, "test_gained": 38})
    try:
        assert registered()[:2] == ("1", "success")
        assert "Success, and the gates let it pass" in registered()[2]
        assert "+0.00 points against" in registered()[2]
    finally:
        metrics.write_text(was)


def test_it_is_said_from_where_an_alias_moved() -> None:
    adapted = Version("net", "3", {ADAPTED_FROM: "net/2"})
    assert moved_from(None, "1") == ""
    assert moved_from(Version("net", "1"), "1") == " as before"
    assert moved_from(Version("net", "1"), "2") == ", moved from version 1"
    assert moved_from(adapted, "2") == ", moved from version 3, which was adapted from version 2"
