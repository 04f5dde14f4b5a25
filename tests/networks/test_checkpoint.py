"""Checkpoints: the usual wrappings load, everything else is refused in words."""

import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import models
from eyas.errors import CheckpointError
from eyas.networks.architectures import build_model
from eyas.networks.checkpoint import apply_weights, load_checkpoint, load_weights


@pytest.fixture
def source():
    torch.manual_seed(3)
    return models.build("resnet8", 10, width=4, in_channels=1)


def fresh(seed=4):
    return build_model("resnet8", {"width": 4, "in_channels": 1}, 10, seed=seed)


def wrap_module(state):
    return {f"module.{name}": value for name, value in state.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state},
        lambda state: {"model_state_dict": state, "optimizer": {"lr": 0.1}},
        lambda state: {"state_dict": wrap_module(state), "best_prec1": 91.7},
        lambda state: {"module._orig_mod." + name: value for name, value in state.items()},
    ],
    ids=["bare", "state_dict", "model", "model_state_dict", "module", "compiled"],
)
def test_usual_wrappings(source, tmp_path, wrap):
    torch.save(wrap(source.state_dict()), tmp_path / "weights.pth")
    model = fresh()
    load_checkpoint(model, tmp_path / "weights.pth")
    for name, value in source.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


def test_safetensors(source, tmp_path):
    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    model = fresh()
    load_checkpoint(model, tmp_path / "weights.safetensors")
    assert torch.equal(model.linear.weight, source.linear.weight)


def test_counters_of_old_checkpoints_may_be_missing(source, tmp_path):
    state = {name: value for name, value in source.state_dict().items() if "num_batches" not in name}
    torch.save(state, tmp_path / "old.pt")
    model = fresh()
    load_checkpoint(model, tmp_path / "old.pt")
    assert torch.equal(model.conv1.weight, source.conv1.weight)


def test_another_architecture_is_refused_by_names(source):
    other = build_model("resnet20", {"width": 4, "in_channels": 1}, 10)
    before = {name: value.clone() for name, value in source.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        apply_weights(source, other.state_dict(), source="checkpoint w.pt")
    message = str(caught.value)
    assert "checkpoint w.pt does not fit CifarResNet" in message
    assert "60 unexpected: layer1.1.conv1.weight" in message
    assert "missing" not in message
    with pytest.raises(CheckpointError, match=r"60 missing: layer1.1.conv1.weight, .*, \.\.\."):
        apply_weights(other, source.state_dict())
    assert all(torch.equal(value, before[name]) for name, value in source.state_dict().items())


def test_another_shape_is_refused_by_both_shapes(source):
    wider = build_model("resnet8", {"width": 4, "in_channels": 1}, 7)
    before = source.linear.weight.clone()
    with pytest.raises(CheckpointError, match=r"2 of another shape .*linear.weight \(7, 16\) for \(10, 16\)"):
        apply_weights(source, wider.state_dict())
    assert torch.equal(source.linear.weight, before)


def test_truncated_file(source, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(source.state_dict(), path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(CheckpointError, match=r"weights.pth \(\d+ bytes\) cannot be read as weights: it is truncated"):
        load_weights(path)


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_no_checkpoint_at_all(tmp_path, name):
    (tmp_path / name).write_bytes(b"<html>404 not found</html>")
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        load_weights(tmp_path / name)


def test_pickled_code_is_never_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (tmp_path.joinpath("was_run").touch, ())

    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Evil()))
    torch.save({"state_dict": nn.Linear(2, 2), "x": Evil()}, tmp_path / "module.pt")
    for name in ("evil.pt", "module.pt"):
        with pytest.raises(CheckpointError, match="pickled code, which is never run"):
            load_weights(tmp_path / name)
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], {}, {"state_dict": {}}])
def test_a_file_without_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="holds no state dict"):
        load_weights(tmp_path / "weights.pth")


def test_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere.pt does not exist"):
        load_weights(tmp_path / "nowhere.pt")
