"""Registering and promoting on a real small network and an MLflow store of its own."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

import eyas
from eyas.config import PipelineParams
from eyas.errors import ParameterError, RefusedError
from eyas.exporters import Exporter
from eyas.gates import PromoteParams
from eyas.lineage import file_sha256
from eyas.progress import silent
from eyas.tracking import Store, registry
from tasks.export import export
from tasks.promote import promote, roll_back, status_lines
from tasks.record import open_store, start_run
from tasks.register import register, workspace_lineage
from tasks.stage import write_json
from tasks.workspace import Workspace

Setting = Callable[..., Workspace]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, pruned_digits: Path, digits_params: PipelineParams) -> Path:
    """A checkout's folder: what the stages left, and DVC's two files."""
    root = tmp_path_factory.mktemp("checkout")
    shutil.copytree(pruned_digits, root / "artifacts", ignore=shutil.ignore_patterns("export"))
    (root / "artifacts/export").mkdir()
    params = digits_params.model_copy(update={"export": digits_params.export.model_copy(update={"exporters": ()})})
    write_json(root / "artifacts/export/metrics.json", dict(export(params, root / "artifacts", silent)))
    write_json(root / "artifacts/finetune/metrics.json", {"test_accuracy": 0.5})
    stages = {"fetch": {"deps": [], "outs": []}, "export": {"deps": [], "outs": []}}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    write_lock(root, "first")
    return root


def write_lock(root: Path, digest: str) -> None:
    stages = {name: {"cmd": f"python -m tasks.{name}", "deps": [digest]} for name in ("fetch", "export")}
    (root / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}))


@pytest.fixture
def setting(root: Path, digits_params: PipelineParams, request: pytest.FixtureRequest) -> Setting:
    """The workspace with a registered model of its own and the given gates."""

    def make(**gates: object) -> Workspace:
        uri = f"sqlite:///{root / 'store' / 'mlflow.db'}"
        params = digits_params.model_copy(
            update={
                "register_": digits_params.register_.model_copy(
                    update={"model": re.sub(r"[^A-Za-z0-9_.-]", "-", request.node.name)}
                ),
                "runtime": digits_params.runtime.model_copy(update={"tracking_uri": uri}),
                "promote": PromoteParams(**{"max_drop": None, **gates}),  # type: ignore[arg-type]
            }
        )
        return Workspace(root, root, "default", params)

    return make


def enter(workspace: Workspace) -> registry.Version:
    lineage = workspace_lineage(start_run(workspace), workspace)
    return register(open_store(workspace), workspace.params, workspace.artifacts, lineage)


def spoil(workspace: Workspace) -> None:
    """Let ``export`` hold a network that answers at random, with a manifest that fits."""
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


@pytest.fixture
def spoilt(root: Path) -> object:
    """Call it with a workspace; the good files are back afterwards."""
    shutil.copytree(root / "artifacts/export", root / "good")
    yield spoil  # whatever the test changes under export is undone
    shutil.rmtree(root / "artifacts/export")
    (root / "good").rename(root / "artifacts/export")


def aliases(workspace: Workspace) -> dict[str, str]:
    store, name = open_store(workspace), workspace.params.register_.model
    found = {alias: registry.get_alias(store, name, alias) for alias in ("champion", "previous", "candidate")}
    return {alias: version.number for alias, version in found.items() if version}


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


def test_good_one_is_promoted_worse_one_refused_and_champion_stays(
    setting: Setting, spoilt: Callable[..., None]
) -> None:
    workspace = setting()
    enter(workspace)
    first = promote(workspace)
    assert (first.outcome, first.champion) == ("promoted", None)
    assert aliases(workspace) == {"champion": "1", "candidate": "1"}
    assert promote(workspace).outcome == "unchanged"
    spoilt(workspace)
    enter(workspace)
    with pytest.raises(RefusedError, match="gain over the champion -0") as refused:
        promote(workspace)
    assert refused.value.exit_status == 3
    assert aliases(workspace) == {"champion": "1", "candidate": "2"}
    assert (
        registry.get_version(open_store(workspace), workspace.params.register_.model, 2).tags["eyas.outcome"]
        == "refused"
    )

    forced = promote(workspace, force="a drill")
    assert forced.outcome == "forced"
    assert aliases(workspace) == {"champion": "2", "previous": "1", "candidate": "2"}
    assert "version 1 is champion again" in roll_back(workspace, "drill over")
    assert aliases(workspace) == {"champion": "1", "candidate": "2"}
    with pytest.raises(RefusedError, match="was rolled back before"):
        promote(workspace)
    lines = "\n".join(status_lines(workspace))
    assert "champion   version 1" in lines
    assert "refused" in lines


def test_champion_of_another_task_is_replaced_only_by_force(setting: Setting, spoilt: Callable[..., None]) -> None:
    workspace = setting()
    enter(workspace)
    promote(workspace)
    file = workspace.artifacts / "export/manifest.json"
    manifest = json.loads(file.read_text())
    write_json(file, manifest | {"classes": [*manifest["classes"], "ten"]})
    enter(workspace)
    with pytest.raises(RefusedError, match=r"10 classes .* and the candidate .* 11 classes"):
        promote(workspace)
    assert promote(workspace, force="a class was added").outcome == "forced"
    assert aliases(workspace)["champion"] == "2"


def test_accuracy_of_the_gate_is_that_of_pytorch(setting: Setting, root: Path) -> None:
    from eyas.data import open_dataset
    from tasks.export import logits

    workspace = setting(min_accuracy=0.0)
    enter(workspace)
    decision = promote(workspace)
    data = open_dataset(root / "artifacts/fetch")
    test = data.split("test")
    answers = logits(eyas.load(root / "artifacts/finetune"), data.normalise(test.images())).argmax(1)
    expected = float((answers == test.labels).double().mean())
    assert decision.numbers["accuracy"] == pytest.approx(expected, abs=2 / len(test))
    assert decision.numbers["images"] == len(test)
    assert decision.numbers["latency"] > 0


@pytest.mark.parametrize(("gate", "limit", "name"), [("min_accuracy", 1.0, "accuracy"), ("max_bytes", 10, "bytes")])
def test_gates_come_from_the_parameters(setting: Setting, gate: str, limit: float, name: str) -> None:
    workspace = setting(**{gate: limit})
    enter(workspace)
    with pytest.raises(RefusedError, match=f"{limit:g}"):
        promote(workspace)
    assert "champion" not in aliases(workspace)


def test_force_needs_a_reason(setting: Setting) -> None:
    with pytest.raises(ParameterError, match="written reason"):
        promote(setting(), force="  ")


def test_open_store_follows_the_parameters(setting: Setting, root: Path) -> None:
    store: Store = open_store(setting())
    assert store.locks == root / "store"
