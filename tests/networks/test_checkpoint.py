"""Checkpoints: the usual wrappings load, everything else is refused in words."""

import math
import pickle
import warnings
from pathlib import Path

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
    assert "\n" not in message
    assert len(message) < 250
    with pytest.raises(CheckpointError, match=r"60 missing: layer1.1.conv1.weight, .*, \.\.\."):
        apply_weights(other, source.state_dict())
    assert all(torch.equal(value, before[name]) for name, value in source.state_dict().items())


def test_another_shape_is_refused_by_both_shapes(source):
    wider = build_model("resnet8", {"width": 4, "in_channels": 1}, 7)
    before = source.linear.weight.clone()
    with pytest.raises(CheckpointError, match=r"2 of another shape .*linear.weight \(7, 16\) for \(10, 16\)"):
        apply_weights(source, wider.state_dict())
    assert torch.equal(source.linear.weight, before)


@pytest.mark.parametrize(
    ("classes", "images"),
    [
        ((), "the network 10"),
        ([f"c{number}" for number in range(10)], "the images 10: c0, c1, c2, c3, c4, ..., c9"),
        (("cat", "dog"), "the network 10"),
    ],
)
def test_weights_for_other_classes_are_told_as_such(source, classes, images):
    other = build_model("resnet8", {"width": 4, "in_channels": 3}, 7)
    mine = build_model("resnet8", {"width": 4, "in_channels": 3}, 10)
    with pytest.raises(CheckpointError) as caught:
        apply_weights(mine, other.state_dict(), classes=classes)
    assert f"(7,) for (10,). The checkpoint has 7 classes, {images}. Give images" in str(caught.value)
    narrow = build_model("resnet8", {"width": 2, "in_channels": 3}, 7)
    with pytest.raises(CheckpointError, match="Check `architecture`"):
        apply_weights(mine, narrow.state_dict(), classes=classes)


def test_truncated_file(source, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(source.state_dict(), path)
    path.write_bytes(path.read_bytes()[:-2000])
    expected = r"weights.pth \(\d+ bytes\) cannot be read as weights: it is truncated, .*Save a plain state dict$"
    with pytest.raises(CheckpointError, match=expected):
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


def prefixed(state, prefix):
    return {f"{prefix}.{name}": value for name, value in state.items()}


def twice(state):
    return {name: value * 2 for name, value in state.items()}


SEVERAL = {  # content, key, how many times the weights that were saved first
    "model and ema": (lambda state: {"model": state, "ema": twice(state)}, None, 1),
    "ema by name": (lambda state: {"model": state, "ema": twice(state)}, "ema", 2),
    "timm": (lambda state: {"state_dict": state, "state_dict_ema": twice(state), "optimizer": {"a": {}}}, None, 1),
    "averaged": (
        lambda state: {"model": state, "model_ema": {"n_averaged": torch.tensor(3), **wrap_module(twice(state))}},
        "model_ema",
        2,
    ),
    "averaged alone": (lambda state: {"n_averaged": torch.tensor(3), **wrap_module(state)}, None, 1),
    "lightning": (lambda state: {"state_dict": prefixed(state, "net"), "hyper_parameters": {}}, None, 1),
    "lightning with a loss": (
        lambda state: {"state_dict": {**prefixed(state, "net"), "loss.weight": torch.ones(2)}},
        None,
        1,
    ),
    "teacher and student": (
        lambda state: {"state_dict": {**prefixed(state, "student"), **prefixed(twice(state), "teacher")}},
        "state_dict.teacher",
        2,
    ),
    "under a word of its own": (lambda state: {"weights": state, "epoch": 3}, None, 1),
    "deep": (lambda state: {"nets": {"a": state, "b": twice(state)}}, "nets.b", 2),
    "with the optimiser's": (lambda state: {"net": state, "optim": {"m": twice(state)}}, None, 1),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_which_state_dict_is_taken(source, tmp_path, name):
    wrap, key, times = SEVERAL[name]
    torch.save(wrap(source.state_dict()), tmp_path / "weights.pth")
    model = fresh()
    load_checkpoint(model, tmp_path / "weights.pth", key)
    assert torch.equal(model.conv1.weight, source.conv1.weight * times)


def test_which_was_taken_is_said(source, tmp_path, caplog):
    state = source.state_dict()
    torch.save({"model": state, "ema": twice(state)}, tmp_path / "weights.pth")
    load_weights(tmp_path / "weights.pth")
    assert "'model' is taken, not ema (`key` chooses)" in caplog.text


def test_several_of_no_usual_name_are_asked_for(source, tmp_path):
    state = source.state_dict()
    path = tmp_path / "weights.pth"
    torch.save({"a": state, "b": twice(state)}, path)
    with pytest.raises(CheckpointError, match="several state dicts: a, b. Choose one by `key`"):
        load_weights(path)
    with pytest.raises(CheckpointError, match="no state dict 'c' .`key`.; it holds a, b"):
        load_weights(path, "c")
    torch.save({"state_dict": {**prefixed(state, "student"), **prefixed(state, "teacher")}}, path)
    with pytest.raises(CheckpointError, match="several networks: student, teacher. Choose one by `key`"):
        load_checkpoint(fresh(), path)


@pytest.mark.parametrize("names", [["model"], ["state_dict", "model"], ["x", "y", "z"]])
@pytest.mark.timeout(20)
def test_a_checkpoint_that_contains_itself_ends(tmp_path, names):
    content = inner = {}
    for name in names[:-1]:
        inner[name] = {}
        inner = inner[name]
    inner[names[-1]] = content
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="holds no state dict"):
        load_weights(tmp_path / "weights.pth")


class Tied(nn.Module):
    """Two convolutions of one weight, by the same parameter or by the same memory."""

    def __init__(self, by: str = "parameter", buffers: bool = False):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 4, 3), nn.Conv2d(1, 4, 3)
        if by == "parameter":
            self.b.weight = self.a.weight
        else:
            self.b.weight.data = self.a.weight.data
        if buffers:
            self.register_buffer("first", torch.zeros(3))
            self.register_buffer("second", self.first)


def refusal(model, weights):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        apply_weights(model, weights)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    return str(caught.value)


@pytest.mark.parametrize("by", ["parameter", "memory"])
def test_two_values_for_one_weight_are_refused_by_both_names(by):
    state = Tied(by).state_dict()
    apart = {name: value.clone() for name, value in state.items()}
    apart["b.weight"] += 1
    assert "1 with two values for one tensor of the network: a.weight and b.weight" in refusal(Tied(by), apart)
    model = Tied(by)
    apply_weights(model, {name: value.clone() for name, value in state.items()})
    assert torch.equal(model.b.weight, state["a.weight"])
    if by == "parameter":
        apply_weights(model, {name: value for name, value in state.items() if name != "b.weight"})


def test_two_values_for_one_buffer_are_refused():
    state = Tied(buffers=True).state_dict()
    assert "first and second" in refusal(Tied(buffers=True), state | {"second": torch.ones(3)})


def quantised(weight):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(weight, 0.01, 0, torch.qint8)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda weight: (127 * weight).to(torch.int8), "int8 for float32"),
        (lambda weight: weight.to(torch.int64), "int64 for float32"),
        (lambda weight: weight.to(torch.complex64), "complex64 for float32"),
        (lambda weight: weight.to_sparse(), "sparse for float32"),
        (lambda weight: weight.to("meta"), "meta, without values, for float32"),
        (quantised, "quantised for float32"),
    ],
)
@pytest.mark.parametrize("name", ["conv1.weight", "bn1.running_var"])
def test_a_tensor_of_another_kind_is_refused_by_name_and_kind(source, change, kind, name):
    state = source.state_dict()
    message = refusal(fresh(), state | {name: change(state[name])})
    assert f"1 of another kind (saved for needed): {name} {kind}" in message
    assert "dequantize" in message


def test_truth_values_are_no_weights(source):
    state = source.state_dict()
    assert "conv1.weight bool for float32" in refusal(fresh(), state | {"conv1.weight": state["conv1.weight"] > 0})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floating_point_of_another_precision_is_taken(source, dtype):
    model = fresh()
    apply_weights(model, {name: v.to(dtype) if v.is_floating_point() else v for name, v in source.state_dict().items()})
    assert torch.equal(model.linear.weight, source.linear.weight.to(dtype).float())


class Buffers(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("steps", torch.tensor([3]))
        self.register_buffer("mask", torch.tensor([True, False]))
        self.register_buffer("kept", torch.tensor([1.0, 0.0]))


def test_integers_and_masks_are_taken_where_nothing_of_them_is_lost():
    saved = {"steps": torch.tensor([7], dtype=torch.int32), "mask": torch.tensor([0, 1], dtype=torch.uint8)}
    saved["kept"] = torch.tensor([False, True])
    model = Buffers()
    apply_weights(model, saved)
    assert (model.steps.tolist(), model.mask.tolist(), model.kept.tolist()) == ([7], [False, True], [0.0, 1.0])
    assert "steps float32 for int64" in refusal(Buffers(), saved | {"steps": torch.tensor([7.5])})
    assert "mask uint8 for bool" in refusal(Buffers(), saved | {"mask": torch.tensor([0, 2], dtype=torch.uint8)})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("conv1.weight", math.nan, "conv1.weight holds NaN"),
        ("linear.bias", math.inf, "linear.bias holds infinity"),
        ("bn1.running_mean", -math.inf, "bn1.running_mean holds infinity"),
        ("bn1.running_var", -1.0, "bn1.running_var is negative, which no variance is"),
        ("bn1.running_var", math.nan, "bn1.running_var holds NaN"),
    ],
)
def test_values_that_no_training_ends_with_are_named(source, tmp_path, name, value, words):
    state = source.state_dict()
    state[name].view(-1)[0] = value
    torch.save(state, tmp_path / "weights.pt")
    model = fresh()
    before = model.linear.weight.clone()
    with pytest.raises(CheckpointError, match=f"1 wrong: {words}"):
        load_checkpoint(model, tmp_path / "weights.pt")
    assert torch.equal(model.linear.weight, before)


def test_what_overflows_in_the_networks_own_precision_is_named(source, tmp_path):
    state = source.state_dict()
    state["conv1.weight"] = state["conv1.weight"].double() + 1e60
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=r"conv1\.weight holds infinity"):
        load_checkpoint(fresh(), tmp_path / "weights.pt")


def test_a_mask_of_infinities_is_no_fault(tmp_path):
    torch.save(Buffers().state_dict() | {"kept": torch.tensor([0.0, -math.inf])}, tmp_path / "weights.pt")
    model = Buffers()
    load_checkpoint(model, tmp_path / "weights.pt")
    assert model.kept.tolist() == [0.0, -math.inf]


def test_a_layer_of_zeros_is_told(source, tmp_path, caplog):
    state = source.state_dict()
    torch.save(state, tmp_path / "good.pt")
    load_checkpoint(fresh(), tmp_path / "good.pt")
    assert "zero" not in caplog.text
    state["conv1.weight"].zero_()
    torch.save(state, tmp_path / "weights.pt")
    load_checkpoint(fresh(), tmp_path / "weights.pt")
    assert "all weights of conv1.weight are zero" in caplog.text


def test_a_torchscript_file_is_refused_in_our_words_alone(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of making one
        torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "net.pt"))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with pytest.raises(CheckpointError, match="cannot be read as weights"):
            load_weights(tmp_path / "net.pt")
    assert told == []
