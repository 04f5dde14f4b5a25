"""The baseline stage on scikit-learn's digits: trains, loads, adapts, resumes, refuses."""

import csv
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import models
from eyas.config import parse_params
from eyas.data import open_dataset
from eyas.data.comparability import read_comparability
from eyas.data.manifest import read_manifest
from eyas.errors import CheckpointError, ChecksumError, EyasError, ParameterError
from eyas.networks.architectures import ANYWHERE, build_model
from eyas.networks.saved_network import load_network
from eyas.progress import silent
from eyas.training import StoredSplit, train
from eyas.training.recipes import Recipe
from tasks.baseline import baseline
from tasks.stage import name_fields
from tasks.training_support import training_fields

ROOT = Path(__file__).resolve().parents[2]
ARGUMENTS = {"width": 4, "in_channels": 1}
RECIPE = {"kind": "sgd", "batch_size": 64, "learning_rate": 0.1}


class WithoutNorm(nn.Module):
    """A convolution and a linear layer."""

    def __init__(self, num_classes):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.linear = nn.Linear(4 * 16, num_classes)

    def forward(self, x):
        return self.linear(nn.functional.avg_pool2d(self.conv(x).relu(), 2).flatten(1))


class Answers(nn.Module):
    """Features instead of logits."""

    def __init__(self, num_classes):
        super().__init__()
        self.conv = nn.Conv2d(1, num_classes, 3)

    def forward(self, x):
        return self.conv(x)


class Drawn(WithoutNorm):
    """Reads a tensor of a closure; anew for every network unless told otherwise."""

    def __init__(self, num_classes, repeat):
        super().__init__(num_classes)
        scale = torch.ones(8) if repeat else torch.rand(8)
        self.scale = lambda x: x * scale

    def forward(self, x):
        return super().forward(self.scale(x))


class Hidden(WithoutNorm):
    """Computes with a drawn number, a function, or a buffer that is in no state dict."""

    def __init__(self, num_classes, kind):
        super().__init__(num_classes)
        self.act, self.turn = torch.relu, 0
        self.register_buffer("factor", torch.ones(8), persistent=False)
        if kind == "buffer":
            self.factor = torch.rand(8)
        elif kind == "python":
            self.turn = random.randrange(1, 8)
        elif kind == "numpy":
            self.factor = torch.from_numpy(np.random.rand(8)).float()  # noqa: NPY002
        elif kind == "function":
            power = 1 + random.random()
            self.act = lambda x: torch.relu(x) ** power

    def forward(self, x):
        return super().forward(self.act(x.roll(self.turn, 2) * self.factor))


@pytest.fixture
def artifacts(pruned_digits, tmp_path):
    """A workspace in which only ``fetch`` has run."""
    shutil.copytree(pruned_digits / "fetch", tmp_path / "artifacts" / "fetch")
    (tmp_path / "artifacts" / "baseline").mkdir()
    return tmp_path / "artifacts"


def make_params(artifacts, test="data/test", **fields):  # with a checkpoint, of its own as far as a baseline can tell
    baseline_params = {"architecture": "resnet8", "arguments": ARGUMENTS, "epochs": 2, "recipe": RECIPE, **fields}
    runtime = {"state": str(artifacts.parent / "state"), "device": "cpu"}
    return parse_params({"fetch": {"test": test}, "baseline": baseline_params, "runtime": runtime})


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def plain_accuracy(model, artifacts, split):
    """Share of right answers, one image at a time, normalised by the manifest's numbers."""
    dataset = open_dataset(artifacts / "fetch")
    part = dataset.split(split)
    right = 0
    with torch.no_grad():
        for image, label in zip(part.images(), part.labels, strict=True):
            x = (image.double() / 255 - dataset.mean[0]) / dataset.std[0]
            right += int(model.double().eval()(x[None]).argmax() == label)
    return right / len(part)


def test_a_loss_that_explodes_names_the_parameter_to_lower(artifacts):
    with pytest.raises(EyasError) as caught:
        baseline(make_params(artifacts, epochs=1, recipe={**RECIPE, "learning_rate": 1e30}), artifacts, silent)
    message = name_fields(str(caught.value), training_fields("baseline"))
    assert "lower baseline.recipe.learning_rate or raise baseline.recipe.warmup_epochs" in message


def test_it_trains_and_leaves_all_that_rebuilds_the_network(artifacts):
    metrics = baseline(make_params(artifacts, epochs=6), artifacts, silent)
    content = json.loads((artifacts / "baseline/architecture.json").read_text())
    weights = hashlib.sha256((artifacts / "baseline/model.safetensors").read_bytes()).hexdigest()
    assert {name: value for name, value in content.items() if name != "digest"} == {
        "format": 2,
        "weights": weights,
        "pruning": None,
        "architecture": "models:build",
        "arguments": {"name": "resnet8", "num_classes": 10, **ARGUMENTS},
        "input_shape": [1, 8, 8],
        "seen_by_checkpoint": False,
    }
    model = models.build(**content["arguments"])
    model.load_state_dict(load_file(artifacts / "baseline/model.safetensors"), strict=True)
    assert metrics["test_accuracy"] == plain_accuracy(model, artifacts, "test")
    assert metrics["score_accuracy"] == plain_accuracy(model, artifacts, "score")
    assert metrics["test_accuracy"] > 0.6
    assert metrics["params"] == sum(p.numel() for p in model.parameters())
    with FlopCounterMode(display=False) as counter:
        model.float()(torch.zeros(1, 1, 8, 8))
    assert metrics["macs"] == counter.get_total_flops() // 2
    with (artifacts / "baseline/history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == list("123456")
    assert float(rows[metrics["best_epoch"] - 1]["score_accuracy"]) == metrics["score_accuracy"]
    assert not list((artifacts.parent / "state").rglob("epoch.pt"))
    loaded = load_network(artifacts / "baseline")
    assert loaded.input_shape == (1, 8, 8)
    assert torch.equal(loaded.model.linear.weight.double(), model.double().linear.weight)


def test_same_seed_same_bytes(artifacts):
    contents = []
    for seed in (1, 1, 2):
        baseline(make_params(artifacts, seed=seed, epochs=1), artifacts, silent)
        contents.append(files(artifacts / "baseline"))
    assert contents[0] == contents[1]
    assert contents[0]["model.safetensors"] != contents[2]["model.safetensors"]


def checkpoint(artifacts, tmp_path, **arguments):
    torch.manual_seed(7)
    model = models.build("resnet8", 10, **{**ARGUMENTS, **arguments})
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}, "epoch": 3}, path)
    return path, model


def test_a_checkpoint_is_taken_as_it_is(artifacts, tmp_path, monkeypatch):
    _, model = checkpoint(artifacts, tmp_path)
    monkeypatch.setenv("WEIGHTS", str(tmp_path))
    params = make_params(artifacts, checkpoint="$WEIGHTS/weights.pth", seen_by_checkpoint=True)
    metrics = baseline(params, artifacts, silent)
    state = load_file(artifacts / "baseline/model.safetensors")
    assert set(state) == set(model.state_dict())
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())
    assert metrics["test_accuracy"] == plain_accuracy(model, artifacts, "test")
    assert "checkpoint_test_accuracy" not in metrics
    assert json.loads((artifacts / "baseline/architecture.json").read_text())["seen_by_checkpoint"] is True
    assert (artifacts / "baseline/history.csv").read_text().count("\n") == 1


def test_a_checkpoint_is_adapted_and_both_accuracies_are_told(artifacts, tmp_path):
    path, model = checkpoint(artifacts, tmp_path)
    params = make_params(artifacts, checkpoint=str(path), adapt_epochs=4)
    metrics = baseline(params, artifacts, silent)
    assert metrics["checkpoint_test_accuracy"] == plain_accuracy(model, artifacts, "test")
    assert metrics["test_accuracy"] > metrics["checkpoint_test_accuracy"] + 0.2
    assert len((artifacts / "baseline/history.csv").read_text().splitlines()) == 5


@pytest.mark.parametrize(
    ("fields", "test", "words"),
    [
        ({}, None, None),
        ({}, "from_train", None),
        ({"checkpoint": True, "seen_by_checkpoint": False}, None, None),
        ({"checkpoint": True, "seen_by_checkpoint": False}, "from_train", None),
        ({"checkpoint": True}, "data/test", None),
        ({"checkpoint": True, "seen_by_checkpoint": True}, "included", None),
        ({"checkpoint": True}, "from_train", "may have been trained"),
        ({"checkpoint": True, "adapt_epochs": 1}, "from_train", "may have been trained"),
        ({"checkpoint": True, "seen_by_checkpoint": True}, "from_train", "was trained"),
    ],
)
def test_it_says_whether_its_accuracy_compares(artifacts, tmp_path, caplog, fields, test, words):
    caplog.set_level("INFO")
    if test == "from_train":
        manifest = read_manifest(artifacts / "fetch")
        marked = manifest.model_copy(update={"test_from_train": True})
        (artifacts / "fetch/manifest.json").write_text(marked.to_json())
    path, _ = checkpoint(artifacts, tmp_path)
    fields = fields | ({"checkpoint": str(path)} if "checkpoint" in fields else {"epochs": 1})
    metrics = baseline(make_params(artifacts, test=test, **fields), artifacts, silent)
    told = read_comparability(artifacts / "baseline")
    assert metrics["comparable"] == told.comparable == (words is None)
    assert (words or "") in told.reason
    assert ("not comparable" in caplog.text) is (words is not None)
    (line,) = (line for line in caplog.messages if line.startswith("dense network:"))
    assert line.endswith(" (not comparable)") is (words is not None)


def test_another_checkpoint_is_another_key(artifacts, tmp_path):
    """Training that stopped with one checkpoint does not go on with the next one of the same name."""
    path, _ = checkpoint(artifacts, tmp_path)
    params = make_params(artifacts, checkpoint=str(path), adapt_epochs=2)

    def stop(done, total, text=""):
        raise InterruptedError

    for seed in (1, 2):
        torch.manual_seed(seed)
        torch.save(models.build("resnet8", 10, **ARGUMENTS).state_dict(), path)
        with pytest.raises(InterruptedError):
            baseline(params, artifacts, stop)
    baseline(params, artifacts, silent)
    expected = files(artifacts / "baseline")
    shutil.rmtree(artifacts.parent / "state")
    baseline(params, artifacts, silent)
    assert files(artifacts / "baseline") == expected


def test_a_checkpoint_of_another_architecture(artifacts, tmp_path):
    path, _ = checkpoint(artifacts, tmp_path, width=8)
    with pytest.raises(CheckpointError, match=r"of another shape.*conv1.weight \(8, 1, 3, 3\) for \(4, 1, 3, 3\)"):
        baseline(make_params(artifacts, checkpoint=str(path)), artifacts, silent)
    assert not files(artifacts / "baseline")


def test_a_checkpoint_that_was_tampered_with(artifacts, tmp_path):
    path, _ = checkpoint(artifacts, tmp_path)
    with pytest.raises(ChecksumError, match="00000000"):
        baseline(make_params(artifacts, checkpoint=str(path), checkpoint_sha256="00000000"), artifacts, silent)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"arguments": {"in_channels": 3}}, r"cannot take images of shape \(1, 8, 8\).*in_channels"),
        ({"architecture": f"{__name__}:Answers", "arguments": {}}, r"\(2, 10, 6, 6\).*logits \(2, K\)"),
        ({"arguments": {**ARGUMENTS, "num_classes": 7}}, r"\(2, 7\).*at least 10"),
        ({"architecture": "resnet21"}, r"architecture 'resnet21'.*resnet20"),
    ],
)
def test_a_network_that_does_not_fit_the_data(artifacts, fields, message):
    with pytest.raises(ParameterError, match=message):
        baseline(make_params(artifacts, **fields), artifacts, silent)


def test_a_network_without_batch_norm_is_warned_about(artifacts, caplog):
    params = make_params(artifacts, architecture=f"{__name__}:WithoutNorm", arguments={})
    baseline(params, artifacts, silent)
    assert "WithoutNorm has no batch-norm layers" in caplog.text
    saved = load_network(artifacts / "baseline", allowed=ANYWHERE)
    assert saved.architecture == f"{__name__}:WithoutNorm"


def test_a_killed_process_resumes_to_the_same_bytes(artifacts, tmp_path):
    """SIGKILL after the second epoch's checkpoint; the next run ends as an unbroken one does."""
    content = {
        "baseline": {"architecture": "resnet8", "arguments": ARGUMENTS, "epochs": 6, "recipe": RECIPE},
        "runtime": {"threads": 1, "device": "cpu"},
    }
    workspaces = [tmp_path / "unbroken", tmp_path / "killed"]
    for workspace in workspaces:
        shutil.copytree(artifacts / "fetch", workspace / "artifacts" / "fetch")
        (workspace / "params.yaml").write_text(yaml.safe_dump(content))
    with start(workspaces[0]) as unbroken:
        unbroken.communicate(timeout=120)
    assert unbroken.returncode == 0
    with start(workspaces[1]) as process:
        wait_for_epoch(process, 2)
        process.send_signal(signal.SIGKILL)
    assert list((workspaces[1] / ".eyas").rglob("epoch.pt"))
    with start(workspaces[1]) as again:
        output, _ = again.communicate(timeout=120)
    assert again.returncode == 0
    assert "continuing after epoch" in output
    assert files(workspaces[0] / "artifacts/baseline") == files(workspaces[1] / "artifacts/baseline")


def start(workspace):
    command = [sys.executable, "-m", "tasks.baseline"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    return subprocess.Popen(
        command, cwd=workspace, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_for_epoch(process, epoch):
    deadline = time.monotonic() + 60
    for line in process.stdout:
        if line.startswith(f"epoch {epoch + 1}/"):
            return
        assert time.monotonic() < deadline
    pytest.fail(f"the stage ended before epoch {epoch}")


def test_a_split_that_is_streamed_trains_to_the_same_bytes(artifacts):
    states = []
    for memory_limit in (1, 2**30):
        dataset = open_dataset(artifacts / "fetch", memory_limit=memory_limit)
        splits = [StoredSplit(dataset.split(name), dataset.normalise) for name in ("train", "score")]
        assert splits[0].source.fits_memory == (memory_limit > 1)
        model = build_model("resnet8", ARGUMENTS, 10)
        train(model, *splits, recipe=Recipe.parse(RECIPE), epochs=1)
        states.append(model.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.mark.parametrize("repeat", [True, False])
def test_a_tensor_that_no_state_dict_holds_has_to_repeat(artifacts, repeat):
    params = make_params(artifacts, architecture=f"{__name__}:Drawn", arguments={"repeat": repeat}, epochs=1)
    if repeat:
        baseline(params, artifacts, silent)
        assert load_network(artifacts / "baseline", allowed=ANYWHERE).constants[0].tolist() == [1.0] * 8
    else:
        with pytest.raises(ParameterError, match=r"cannot be saved whole.*shape \(8,\).*register_buffer"):
            baseline(params, artifacts, silent)


@pytest.mark.parametrize("kind", ["none", "buffer", "python", "numpy", "function"])
def test_what_the_factory_draws_beside_weights_is_refused_before_training(artifacts, kind, monkeypatch):
    params = make_params(artifacts, architecture=f"{__name__}:Hidden", arguments={"kind": kind}, epochs=1)
    states = random.getstate(), torch.random.get_rng_state().tolist()
    if kind == "none":
        baseline(params, artifacts, silent)
    else:
        monkeypatch.setattr("tasks.baseline.TrainingData.train", None)
        with pytest.raises(ParameterError, match=r"cannot be saved whole: built twice .* register_buffer"):
            baseline(params, artifacts, silent)
        assert states == (random.getstate(), torch.random.get_rng_state().tolist())
