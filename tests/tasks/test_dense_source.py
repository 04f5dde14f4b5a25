"""A registered model as the baseline of the next round."""

import hashlib
import json
import shutil
from dataclasses import replace

import pytest
import torch

import eyas
from eyas.config import parse_params
from eyas.data import open_dataset
from eyas.data.comparability import read_comparability
from eyas.data.index import read_index
from eyas.data.manifest import INDEX
from eyas.deploy.exporters import Exporter
from eyas.errors import BadInputError, CheckpointError, ParameterError
from eyas.networks.architectures import build_architecture
from eyas.networks.pruned_architecture import build as build_pruned
from eyas.networks.saved_network import load_network
from eyas.operations.tracking import model_registry, open_store
from eyas.progress import silent
from eyas.pruning.criteria import Criterion
from eyas.storage.digests import file_sha256
from tasks import registry_source
from tasks.baseline import baseline
from tasks.registry_source import bring_checkpoint, made_from
from tasks.workspace import Workspace


@pytest.fixture
def artifacts(pruned_digits, tmp_path):
    """A workspace in which only ``fetch`` has run."""
    shutil.copytree(pruned_digits / "fetch", tmp_path / "artifacts" / "fetch")
    (tmp_path / "artifacts" / "baseline").mkdir()
    return tmp_path / "artifacts"


@pytest.fixture(scope="module")
def registered(pruned_digits, tmp_path_factory):
    """The address of an MLflow store that holds the pruned digits network, and its name in the registry."""
    from eyas.operations import tracking
    from eyas.operations.lineage import Lineage

    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    export = folder / "export"
    shutil.copytree(pruned_digits / "finetune", export)
    model = eyas.load(export)
    Exporter.parse("onnx")(model, torch.zeros(2, 1, 8, 8), export / "model.onnx")
    names = [path.name for path in export.iterdir() if path.name != "manifest.json"]
    listed = {n: {"sha256": file_sha256(export / n), "bytes": (export / n).stat().st_size} for n in names}
    (export / "manifest.json").write_text(json.dumps({"version": 1, "files": listed}))
    store = tracking.open_store(folder, uri=uri)
    run = tracking.start_pipeline(store, "test")
    lineage = Lineage(run, {}, "d", "b", "p")
    tracking.register_version(store, "digits", export, lineage, shape=(1, 8, 8))
    return uri, model


def from_registry(artifacts, uri, checkpoint, **fields):
    """The workspace of a profile whose baseline is a registered version."""
    content = {
        "architecture": "resnet8",
        "arguments": {"width": 8, "in_channels": 1},
        "checkpoint": checkpoint,
        **fields,
    }
    runtime = {"state": str(artifacts.parent / "state"), "device": "cpu", "tracking_uri": uri}
    params = parse_params({"baseline": content, "runtime": runtime})
    return Workspace(artifacts.parent, artifacts.parent, "default", params)


def run_baseline(workspace):
    """What a flow does: the registry is asked first, then the stage runs."""
    bring_checkpoint(workspace)
    return baseline(workspace.params, workspace.artifacts, silent)


def accuracy(model, artifacts):
    dataset = open_dataset(artifacts / "fetch")
    test = dataset.split("test")
    with torch.no_grad():
        answers = [int(model(dataset.normalise(image[None])).argmax()) for image in test.images()]
    return sum(a == b for a, b in zip(answers, test.labels.tolist(), strict=True)) / len(answers)


@pytest.mark.parametrize("reference", ["models:/digits@candidate", "models:/digits/1"])
def test_a_registered_model_is_the_baseline_of_the_next_round(artifacts, registered, reference):
    uri, pruned = registered
    metrics = run_baseline(from_registry(artifacts, uri, reference))
    again = load_network(artifacts / "baseline")
    images = torch.randn(4, 1, 8, 8)
    assert torch.equal(again.model(images), pruned(images))
    assert metrics["params"] == sum(p.numel() for p in pruned.parameters())
    assert metrics["test_accuracy"] == pytest.approx(accuracy(pruned, artifacts))


@pytest.mark.parametrize(
    ("known", "fields", "words"),
    [
        ({}, {}, "is not known any more"),
        ({}, {"seen_by_checkpoint": False}, None),
        ({"eyas.dataset_hash": "this"}, {}, None),
        ({"eyas.dataset_hash": "this", "eyas.comparable": "false"}, {"seen_by_checkpoint": False}, "of old"),
        ({"index": "train"}, {"seen_by_checkpoint": False}, "digits version 1 was made with"),
        ({"index": "test"}, {}, None),
    ],
)
def test_what_a_registered_version_was_made_with_decides(artifacts, registered, monkeypatch, known, fields, words):
    """Of its own data set it is known; of another, each image is; of one that is gone, the user's word counts."""
    dataset = open_dataset(artifacts / "fetch")
    tags = {"eyas.comparable": "true", "eyas.not_comparable.because": "of old" if "eyas.comparable" in known else ""}
    tags |= {name: dataset.digest if value == "this" else value for name, value in known.items() if name != "index"}
    as_it_is = registry_source.find_version
    monkeypatch.setattr(
        registry_source, "find_version", lambda *where: replace(one := as_it_is(*where), tags={**one.tags, **tags})
    )
    if "index" in known:  # it held out these images (the same, or those that are for training now)
        rows = read_index(artifacts / "fetch" / INDEX)
        seen = {row.sha256 for row in rows if (row.split == "test") is (known["index"] == "train")}
        monkeypatch.setattr(registry_source, "images_seen", lambda *_: seen)
    metrics = run_baseline(from_registry(artifacts, registered[0], "models:/digits/1", **fields))
    told = read_comparability(artifacts / "baseline")
    assert metrics["comparable"] == told.comparable == (words is None)
    assert (words or "") in told.reason


def test_a_registered_model_is_pruned_once_more(artifacts, registered, tmp_path):
    uri, first = registered
    run_baseline(from_registry(artifacts, uri, "models:/digits@candidate"))
    network = load_network(artifacts / "baseline")
    space = eyas.trace(network.model, (network.example(),))
    plan = space.plan(
        {group.name: max(1, group.channels // 2) for group in space.groups}, criterion=Criterion.parse("l1_norm")
    )
    second = eyas.prune(network.model, space, plan)
    eyas.save(
        second,
        tmp_path / "twice",
        space=space,
        plan=plan,
        architecture=network.architecture,
        arguments=network.arguments,
    )
    loaded = eyas.load(tmp_path / "twice")
    images = torch.randn(4, 1, 8, 8)
    assert torch.equal(loaded(images), second.eval()(images))
    assert sum(p.numel() for p in loaded.parameters()) < sum(p.numel() for p in first.parameters()) / 2


@pytest.mark.parametrize(
    ("checkpoint", "fields", "error", "message"),
    [
        ("models:/digits@champion", {}, CheckpointError, "no version has that alias; registered versions: 1"),
        ("models:/digits/9", {}, BadInputError, "no version 9; registered versions: 1"),
        ("models:/nothing@candidate", {}, CheckpointError, "registered versions: none"),
        ("models:/digits", {}, ParameterError, "models:/name@alias or models:/name/number"),
        ("models:/digits/1", {"architecture": "resnet20"}, CheckpointError, "name the same network"),
    ],
)
def test_a_registered_model_that_is_not_there(artifacts, registered, checkpoint, fields, error, message):
    with pytest.raises(error, match=message):
        run_baseline(from_registry(artifacts, registered[0], checkpoint, **fields))


def test_without_a_flow_the_stage_says_what_to_run(artifacts, registered):
    workspace = from_registry(artifacts, registered[0], "models:/digits/1")
    with pytest.raises(
        CheckpointError,
        match="models:/digits/1 is in the model registry.*`eyas run`, not `dvc repro`, with the options of this pro",
    ):
        baseline(workspace.params, artifacts, silent)
    bring_checkpoint(workspace)
    other = from_registry(artifacts, registered[0], "models:/digits@candidate")
    with pytest.raises(CheckpointError, match="models:/digits@candidate is in the model registry"):
        baseline(other.params, artifacts, silent)


def test_what_is_made_from_a_registered_version_says_so(artifacts, registered):
    workspace = from_registry(artifacts, registered[0], "models:/digits@candidate")
    bring_checkpoint(workspace)
    assert made_from(workspace) == {"eyas.made_from": "digits/1"}
    assert made_from(from_registry(artifacts, registered[0], None)) == {}


def test_files_that_were_changed_since_they_were_brought_are_refused_and_brought_again(artifacts, registered):
    workspace = from_registry(artifacts, registered[0], "models:/digits/1")
    bring_checkpoint(workspace)
    (weights,) = workspace.state.rglob("model.safetensors")
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="not the file of digits version 1 any more"):
        baseline(workspace.params, artifacts, silent)
    bring_checkpoint(workspace)
    assert weights.read_bytes() == good


def test_an_alias_that_moved_runs_the_baseline_again(artifacts, registered, monkeypatch):
    workspace = from_registry(artifacts, registered[0], "models:/digits@moving")
    store = open_store(artifacts.parent, uri=registered[0])
    model_registry.set_alias(store, "digits", "moving", "1")
    named = bring_checkpoint(workspace)
    run_baseline(workspace)
    first = json.loads((artifacts / "baseline/source.json").read_text())
    with monkeypatch.context() as patched:
        patched.setattr(model_registry, "download", None)  # what is here is not brought again
        assert bring_checkpoint(workspace) == named
    version = model_registry.get_version(store, "digits", 1)
    copied = store.client.create_model_version("digits", source=version.source, tags=dict(version.tags))
    model_registry.set_alias(store, "digits", "moving", str(copied.version))
    moved = bring_checkpoint(workspace)
    run_baseline(workspace)
    second = json.loads((artifacts / "baseline/source.json").read_text())
    assert first.keys() == second.keys() == {"checkpoint"}
    assert first != second
    digest = version.manifest_digest
    assert named == f"digits version 1, {first['checkpoint']}"
    assert moved == f"digits version {copied.version}, {second['checkpoint']}"
    assert first == {"checkpoint": hashlib.sha256(f'["digits", "1", "{digest}"]'.encode()).hexdigest()}
    store.client.delete_model_version("digits", str(copied.version))


def test_a_baseline_without_a_registered_checkpoint_asks_no_registry(artifacts):
    workspace = from_registry(artifacts, "http://127.0.0.1:9", None)
    assert not bring_checkpoint(workspace)


def test_only_allowed_factories_are_reached_through_a_pruned_one(monkeypatch):
    with pytest.raises(ParameterError, match="not in an allowed package"):
        build_pruned(architecture="os:system", arguments={}, shapes={}, attributes=[], num_classes=10)
    with pytest.raises(ParameterError, match="not in an allowed package"):
        build_architecture("eyas.networks.architectures:build_model", {"architecture": "os:system", "arguments": {}})
