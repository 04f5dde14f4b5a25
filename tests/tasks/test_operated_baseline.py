"""Surgeries by ``baseline.surgeries``: the stage changes, trains and saves; the stages after it load what it left."""

import shutil

import pytest
import torch
from torch import nn

from eyas.calibration.batchnorm import batch_norms
from eyas.config import parse_params
from eyas.data import open_dataset
from eyas.errors import ParameterError
from eyas.networks.architecture_record import read_record
from eyas.progress import silent
from tasks import preflight_network
from tasks.baseline import baseline
from tasks.dense_network import load_dense
from tests.networks.normalised_networks import WithoutNorm

PLACE = "tests.networks.normalised_networks:WithoutNorm"
ARGUMENTS = {"in_channels": 1, "width": 4}
RECIPE = {"kind": "sgd", "batch_size": 64, "learning_rate": 0.05}


@pytest.fixture
def artifacts(pruned_digits, tmp_path):
    """A workspace in which only ``fetch`` has run."""
    shutil.copytree(pruned_digits / "fetch", tmp_path / "artifacts" / "fetch")
    (tmp_path / "artifacts" / "baseline").mkdir()
    return tmp_path / "artifacts"


@pytest.fixture
def delivered(tmp_path):
    """A checkpoint without batch-norm."""
    torch.manual_seed(3)
    model = WithoutNorm(10, **ARGUMENTS).eval()
    torch.save(model.state_dict(), tmp_path / "delivered.pth")
    return model, str(tmp_path / "delivered.pth")


def make_params(artifacts, test="data/test", **fields):  # of its own as far as a baseline can tell
    section = {"architecture": PLACE, "arguments": ARGUMENTS, "recipe": RECIPE, **fields}
    runtime = {"state": str(artifacts.parent / "state"), "device": "cpu"}
    fetch = {"train": "builtin:digits", "image_size": 8, "mean": [0.3], "std": [0.4], "test": test}
    return parse_params({"fetch": fetch, "baseline": section, "runtime": runtime})


def test_a_checkpoint_without_batch_norm_goes_on_with_it(artifacts, delivered, caplog):
    model, path = delivered
    params = make_params(artifacts, checkpoint=path, surgeries=["unfold_batch_norm"])
    metrics = baseline(params, artifacts, silent)
    dense = load_dense(params, artifacts)
    assert len(batch_norms(dense.model)) == 3
    dataset = open_dataset(artifacts / "fetch")
    images = dataset.normalise(dataset.split("test").images())
    with torch.no_grad():
        assert torch.allclose(dense.model(images), model(images), atol=1e-4)
        seen = nn.functional.conv2d(
            dataset.normalise(dataset.split("calibration").images()), model.stem.weight, padding=1
        )
    assert torch.allclose(dense.model.stem.norm.running_mean, seen.mean((0, 2, 3)), atol=1e-5)
    right = (model(images).argmax(1) == torch.as_tensor(dataset.split("test").labels)).double().mean()
    assert metrics["test_accuracy"] == pytest.approx(float(right))
    assert "has no batch-norm layers" not in caplog.text


def test_the_same_bytes_twice(artifacts, delivered):
    params, contents = make_params(artifacts, checkpoint=delivered[1], surgeries=["unfold_batch_norm"]), []
    for _ in range(2):
        baseline(params, artifacts, silent)
        contents.append([(artifacts / "baseline" / name).read_bytes() for name in ("model.safetensors",)])
    assert contents[0] == contents[1]


def test_what_is_trained_with_surgeries_is_loaded_by_the_stages_after_it(artifacts):
    params = make_params(artifacts, surgeries=[{"kind": "unfold_batch_norm", "layers": ["left"]}], epochs=1)
    metrics = baseline(params, artifacts, silent)
    dense = load_dense(params, artifacts)
    assert metrics["params"] == sum(parameter.numel() for parameter in dense.model.parameters())
    recorded = read_record(artifacts / "baseline").arguments["surgeries"]
    assert recorded == [{"kind": "unfold_batch_norm", "layers": ["left"], "eps": 1e-5}]


def test_nothing_to_change_names_the_field(artifacts):
    params = make_params(artifacts, architecture="resnet8", surgeries=["unfold_batch_norm"])
    with pytest.raises(ParameterError, match="`surgeries`: unfold_batch_norm finds no convolution"):
        baseline(params, artifacts, silent)
    params = make_params(artifacts, None, architecture="resnet8", surgeries=["unfold_batch_norm"])
    look = preflight_network.look_at_network(params, artifacts.parent, artifacts)
    assert [fault for fault in look.faults if fault.startswith("baseline.surgeries: unfold_batch_norm finds no")]


def test_a_look_before_the_run_takes_the_changed_network(artifacts, delivered):
    params = make_params(
        artifacts, None, checkpoint=delivered[1], seen_by_checkpoint=False, surgeries=["unfold_batch_norm"]
    )
    look = preflight_network.look_at_network(params, artifacts.parent, artifacts)
    assert (look.faults, look.skipped) == ([], [])


def test_a_registered_version_is_not_changed_again():
    with pytest.raises(ParameterError, match="a registered version has what was done to it; leave surgeries out"):
        parse_params({"baseline": {"checkpoint": "models:/digits@champion", "surgeries": ["unfold_batch_norm"]}})


def test_what_only_training_needs_is_gone_afterwards(artifacts):
    params = make_params(
        artifacts, architecture="resnet8", surgeries=["ibn", "weight_standardisation"], epochs=2, recipe=RECIPE
    )
    metrics = baseline(params, artifacts, silent)
    dense = load_dense(params, artifacts)
    assert isinstance(dense.model.layer1[0].bn1.instance, nn.InstanceNorm2d)
    filters = dense.model.conv1.weight.flatten(1)
    assert torch.allclose(filters.std(1), torch.ones(len(filters)), atol=1e-3)
    assert not [name for name in dense.model.state_dict() if "parametrizations" in name]
    dataset = open_dataset(artifacts / "fetch")
    images, labels = dataset.normalise(dataset.split("test").images()), dataset.split("test").labels
    with torch.no_grad():
        right = (dense.model(images).argmax(1) == torch.as_tensor(labels)).double().mean()
    assert metrics["test_accuracy"] == pytest.approx(float(right), abs=0.003)  # filters are rounded once when baked


def test_a_checkpoint_is_not_left_untrained_after_a_surgery_that_needs_it(delivered):
    content = {"checkpoint": delivered[1], "seen_by_checkpoint": False, "surgeries": ["weight_standardisation"]}
    with pytest.raises(
        ParameterError, match="answers otherwise after weight_standardisation until trained: give adapt"
    ):
        parse_params({"baseline": content})
    parse_params({"baseline": content | {"adapt_epochs": 1}})
