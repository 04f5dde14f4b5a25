"""A version against its own record: the files' accuracies, the cost of the plan's widths, and the test labels."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

import eyas
from eyas.data.index import dataset_digest, read_index, write_index
from eyas.data.manifest import INDEX, MANIFEST, file_record, read_manifest
from eyas.deploy.exported_model import ExportedModel
from eyas.deploy.exporters import Exporter
from eyas.errors import ChecksumError, RefusedError
from eyas.networks.saved_network import load_network
from eyas.operations.gates import Gate, MeasuredNetwork
from eyas.storage.digests import file_sha256
from tasks.promote import promote
from tasks.recorded_gates import as_recorded
from tasks.stage import write_json
from tasks.workspace import Workspace
from tests.tasks.registering import Setting, aliases, enter


def answered(right: int, images: int) -> MeasuredNetwork:
    labels = np.zeros(images, np.int64)
    return MeasuredNetwork(np.arange(images) >= right, labels)  # type: ignore[arg-type]


def gates(metrics: dict[str, float], folder: Path, dense: MeasuredNetwork, dataset: str = "d") -> dict[str, Gate]:
    candidate = ExportedModel(folder, {"dataset": "d"})
    measured = {"dense": dense, "candidate": dense}
    judged = as_recorded(metrics, candidate, measured, dataset=dataset, agreement=0.99)
    return {gate.name: gate for gate in judged}


@pytest.mark.parametrize(("stage", "name"), [("baseline", "dense_as_recorded"), ("finetune", "candidate_as_recorded")])
@given(images=st.integers(1, 400), data=st.data())
def test_a_file_may_differ_by_what_parity_allows_and_one_image(
    stage: str, name: str, images: int, data: st.DataObject
) -> None:
    right, recorded = data.draw(st.integers(0, images)), data.draw(st.integers(0, images))
    judged = gates({f"{stage}.test_accuracy": recorded / images}, Path(), answered(right, images))
    (gate,) = judged.values()
    assert gate.name == name
    assert gate.passed == (abs(right - recorded) <= images / 100 + 1 + 1e-6)
    assert gate.limit == pytest.approx(0.01 + 1 / images)
    for value in (right / images, recorded / images, gate.limit):
        assert f"{value:.4f}" in gate.reason


@pytest.mark.parametrize("made_by", ["finetune", "its adaptation"])
def test_the_record_is_that_of_what_made_the_candidate(made_by: str) -> None:
    network = answered(9, 10)
    metrics = {"finetune.test_accuracy": 0.9, "baseline.test_accuracy": 0.9}
    candidate, measured = ExportedModel(Path(), {"dataset": "d"}), {"dense": network, "candidate": network}
    judged = as_recorded(metrics, candidate, measured, dataset="d", agreement=0.99, made_by=made_by)
    dense, own = (gate.reason for gate in judged)
    assert "the record of baseline says" in dense
    assert f"the record of {made_by} says" in own


def test_other_images_and_records_that_tell_nothing_are_not_compared(tmp_path: Path) -> None:
    dense = answered(5, 10)
    assert gates({"baseline.test_accuracy": 0.9}, tmp_path, dense, dataset="other images") == {}
    assert gates({"finetune.macs": 1.0, "finetune.params": 1.0}, tmp_path, dense) == {}
    assert gates({f"finetune.{name}": 1.0 for name in ("macs", "params", "activation_bytes")}, tmp_path, dense) == {}


@pytest.fixture
def version_files(pruned_digits: Path, tmp_path: Path) -> tuple[Path, dict[str, float]]:
    """Plan and search space of a version, and what finetune would have recorded: counted on the network itself."""
    shutil.copy(pruned_digits / "finetune/plan.json", tmp_path / "plan.json")
    shutil.copy(pruned_digits / "sample/space.json", tmp_path / "space.json")
    network = load_network(pruned_digits / "baseline")
    space = eyas.trace(network.model, (network.example(),))
    plan = eyas.PruningPlan.from_json((tmp_path / "plan.json").read_text())
    small = eyas.prune(network.model, space, plan)
    cost = asdict(eyas.trace(small, (network.example(),)).cost())
    assert cost["params"] == sum(parameter.numel() for parameter in small.parameters())
    return tmp_path, {f"finetune.{name}": float(value) for name, value in cost.items()}


@pytest.mark.parametrize("name", ["macs", "params", "activation_bytes"])
def test_the_plans_widths_cost_what_was_recorded(version_files: tuple[Path, dict[str, float]], name: str) -> None:
    folder, metrics = version_files
    assert gates(metrics, folder, answered(1, 1))["cost_as_recorded"].passed
    forged = {**metrics, f"finetune.{name}": metrics[f"finetune.{name}"] - 1}
    gate = gates(forged, folder, answered(1, 1))["cost_as_recorded"]
    assert not gate.passed
    recorded = metrics[f"finetune.{name}"]
    assert gate.reason == f"the plan's widths cost {recorded:.0f} {name}, recorded are {recorded - 1:.0f}"


def test_another_plan_and_a_changed_space_are_refused(
    version_files: tuple[Path, dict[str, float]], pruned_digits: Path
) -> None:
    folder, metrics = version_files
    network = load_network(pruned_digits / "baseline")
    space = eyas.trace(network.model, (network.example(),))
    (folder / "plan.json").write_text(space.plan().to_json())
    assert not gates(metrics, folder, answered(1, 1))["cost_as_recorded"].passed
    content = json.loads((folder / "space.json").read_text())
    content["groups"][0]["channels"] = 1
    (folder / "space.json").write_text(json.dumps(content))
    gate = gates(metrics, folder, answered(1, 1))["cost_as_recorded"]
    assert not gate.passed
    assert "was changed after it was written" in gate.reason


@pytest.fixture
def damaged(root: Path) -> Iterator[Callable[[Workspace], None]]:
    """Export a dense network with one zeroed convolution, and a manifest that fits; undone afterwards."""
    shutil.copytree(root / "artifacts/export", root / "kept")

    def damage(workspace: Workspace) -> None:
        folder, network = workspace.artifacts / "export", load_network(workspace.artifacts / "baseline").model
        with torch.no_grad():
            network.conv1.weight.zero_()  # type: ignore[union-attr, operator]
        Exporter.parse("onnx")(network, torch.zeros(1, 1, 8, 8), folder / "dense.onnx")
        manifest = json.loads((folder / "manifest.json").read_text())
        facts = {"sha256": file_sha256(folder / "dense.onnx"), "bytes": (folder / "dense.onnx").stat().st_size}
        manifest["files"]["dense.onnx"] = facts
        write_json(folder / "manifest.json", manifest)

    yield damage
    shutil.rmtree(root / "artifacts/export")
    (root / "kept").rename(root / "artifacts/export")


def test_a_version_whose_dense_network_was_damaged_is_not_promoted(
    setting: Setting, root: Path, damaged: Callable[[Workspace], None]
) -> None:
    workspace = setting()
    dense = eyas.load(root / "artifacts/baseline")
    dataset = eyas.data.open_dataset(root / "artifacts/fetch")
    test = dataset.split("test")
    with torch.inference_mode():
        right = (dense(dataset.normalise(test.images())).argmax(1) == test.labels).double().mean()
    assert json.loads((root / "artifacts/baseline/metrics.json").read_text()) == {"test_accuracy": float(right)}
    damaged(workspace)
    enter(workspace)
    with pytest.raises(RefusedError, match="dense.onnx has test accuracy 0.*, the record of baseline says 0"):
        promote(workspace)
    assert set(aliases(workspace)) == {"candidate"}
    shutil.copytree(root / "kept", root / "artifacts/export", dirs_exist_ok=True)
    enter(workspace)
    decision = promote(workspace)
    assert decision.outcome == "promoted"
    assert {"dense_as_recorded", "candidate_as_recorded"} <= {gate.name for gate in decision.gates}


def test_a_version_that_is_better_than_its_record_is_not_promoted(setting: Setting, root: Path) -> None:
    workspace, metrics = setting(), root / "artifacts/finetune/metrics.json"
    was = metrics.read_text()
    recorded = json.loads(was)["test_accuracy"] - 0.05
    write_json(metrics, json.loads(was) | {"test_accuracy": recorded})
    try:
        enter(workspace)
    finally:
        metrics.write_text(was)
    with pytest.raises(RefusedError, match=f"model.onnx has test accuracy 0.*record of finetune says {recorded:.4f}"):
        promote(workspace)
    assert set(aliases(workspace)) == {"candidate"}


@pytest.fixture
def forged(root: Path, lock: str) -> Iterator[Callable[..., None]]:
    """Change the label of one test image, and of the data set's own records those asked for; undone afterwards."""
    folder = root / "artifacts/fetch"
    kept = {name: (folder / name).read_bytes() for name in (INDEX, MANIFEST)}
    outs = [{"path": f"artifacts/fetch/{name}", "md5": hashlib.md5(kept[name]).hexdigest()} for name in kept]

    def forge(*, digest: bool, lock_file: bool) -> None:
        rows = read_index(folder / INDEX)
        at = next(place for place, row in enumerate(rows) if row.split == "test")
        rows[at] = rows[at]._replace(label=(rows[at].label + 1) % 10)
        write_index(folder / INDEX, rows)
        manifest = read_manifest(folder)
        manifest = manifest.model_copy(update={"index": file_record(folder / INDEX)})
        if digest:
            manifest = manifest.model_copy(update={"digest": dataset_digest(rows, manifest.settings)})
        (folder / MANIFEST).write_text(manifest.to_json())
        if lock_file:
            content = yaml.safe_load(lock)
            content["stages"]["fetch"]["outs"] = outs
            (root / "dvc.lock").write_text(yaml.safe_dump(content))

    yield forge
    for name, content in kept.items():
        (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("digest", "lock_file", "said"),
    [
        (False, False, "is of the data set .*, the manifest says .*: it was changed"),
        (False, True, "is not what fetch wrote: dvc.lock has"),
        (True, True, "is not what fetch wrote: dvc.lock has"),
    ],
)
def test_labels_that_were_changed_after_the_run_judge_nothing(
    setting: Setting, forged: Callable[..., None], digest: bool, lock_file: bool, said: str
) -> None:
    workspace = setting()
    enter(workspace)
    forged(digest=digest, lock_file=lock_file)
    for force in (None, "a reason"):
        with pytest.raises(ChecksumError, match=said):
            promote(workspace, force=force)
    assert set(aliases(workspace)) == {"candidate"}
