"""Adapters that change batch-norm's weights and biases: the losses, and what holds them back."""

import copy

import pytest
import torch
from torch import nn

import eyas
from eyas.adaptation.adapters import Adapter
from eyas.adaptation.adapters.affine_descent import entropy
from eyas.adaptation.adapters.alpha_bn import AlphaBn
from eyas.adaptation.adapters.osuda import Osuda
from eyas.adaptation.adapters.tent import Tent, class_confusion
from eyas.errors import DataError, ParameterError


def follow(adapter, model, images, batches=3):
    adaptation = adapter.prepare(model)
    for batch in images.chunk(batches):
        adaptation.observe(batch)
    return adaptation


def same(one, other):
    return all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


def affine(model):
    return [parameter for name, parameter in model.named_parameters() if name.startswith("norm")]


def test_entropy_is_that_of_the_formula():
    assert float(entropy(torch.zeros(5, 8))) == pytest.approx(torch.tensor(8.0).log())
    assert float(entropy(torch.eye(4) * 1e4)) == 0


def test_class_confusion_of_a_class_that_no_image_is_of_is_finite():
    logits = torch.tensor([[1e4, 0.0, -1e4], [1e4, 0.0, -1e4]], requires_grad=True)
    loss = class_confusion(logits, 2.5)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_learning_that_ends_in_no_finite_number_is_refused(model, field):
    with pytest.raises(DataError, match=r"tent ended in no finite .*: lower its rate, or take another `adapter`"):
        eyas.adapt(model, field[0], Tent(rate=1e30))


def test_class_confusion_is_that_of_the_formula():
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    rows = (logits / 2.5).softmax(1).tolist()
    weights = [1 + float(torch.tensor([p * torch.tensor(p).log() for p in row]).sum().exp()) for row in rows]
    total = sum(weights)
    matrix = [
        [sum(6 * w / total * row[i] * row[j] for w, row in zip(weights, rows, strict=True)) for j in range(3)]
        for i in range(3)
    ]
    off = sum(matrix[i][j] / sum(matrix[i]) for i in range(3) for j in range(3) if i != j) / 3
    assert float(class_confusion(logits, 2.5)) == pytest.approx(off, abs=1e-6)


def test_sure_answers_of_all_classes_are_not_confused():
    assert float(class_confusion(torch.eye(10).repeat(4, 1) * 1e4, 2.5)) == pytest.approx(0, abs=1e-6)
    assert float(class_confusion(torch.zeros(40, 10), 2.5)) == pytest.approx(0.9)


@pytest.mark.parametrize("loss", ["entropy", "class_confusion"])
def test_tent_moves_affine_parameters_alone_and_down_its_loss(loss, model, field):
    adaptation = Tent(loss=loss, rate=1e-2).prepare(model)
    losses = [float(adaptation.loss(adaptation.observe(field[0]))) for _ in range(5)]
    assert losses[-1] < losses[0]
    before, after = dict(model.named_parameters()), dict(adaptation.finalise().named_parameters())
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if name.startswith("norm")}


def test_tent_without_a_rate_is_alpha_bn(model, field):
    adapted = follow(Tent(source_weight=0.3).model_copy(update={"rate": 0.0}), model, field[0]).finalise()
    assert same(adapted, follow(AlphaBn(source_weight=0.3), model, field[0]).finalise())


def test_tent_takes_the_steps_of_torchs_adam(model, field):
    expected = eyas.adapt(model, field[0], "ada_bn", batch_size=192)
    optimiser = torch.optim.Adam(affine(expected), 1e-2)
    for _ in range(3):
        optimiser.zero_grad()
        entropy(expected(field[0])).backward()
        optimiser.step()
    adaptation = Tent(loss="entropy", rate=1e-2).prepare(eyas.adapt(model, field[0], "ada_bn", batch_size=192))
    adaptation.adapter = adaptation.adapter.model_copy(update={"source_weight": 1.0})  # statistics stay
    for _ in range(3):
        adaptation.observe(field[0])
    for ours, theirs in zip(affine(adaptation.finalise()), affine(expected), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_batch_norm_without_weights_has_nothing_to_descend(field):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for kind in ("tent", "osuda"):
        with pytest.raises(ParameterError, match="`model` has no batch-norm with weights"):
            Adapter.parse(kind).prepare(model.eval())


def test_osuda_between_its_ends(model, field):
    """Never leaving the source is the network; leaving it at once is ada_bn; held fast, weights and biases stay."""
    still, hurried = Osuda(tau=0, strength=1e6), Osuda(tau=1e3, strength=1e6)
    assert same(follow(still, model, field[0]).finalise(), model)
    assert same(
        follow(hurried, model, field[0]).finalise(), follow(Adapter.parse("ada_bn"), model, field[0]).finalise()
    )


def test_osuda_lets_go_where_nothing_holds(model, field):
    free, held = (follow(Osuda(strength=strength), model, field[0]).finalise() for strength in (0, 0.5))
    weights, free, held = (torch.cat(affine(net)).detach() for net in (model, free, held))
    assert 0 < (held - weights).abs().sum() < (free - weights).abs().sum()


def test_osuda_weighs_channels_by_how_they_carry_over(model, field):
    adaptation = follow(Osuda(), model, field[0])
    shares = adaptation.transferability("norm1")
    assert float(shares.mean()) == pytest.approx(1)
    memory, eps = adaptation.memory, model.norm1.eps
    ratio = [
        memory[f"norm1.{m}"] / (memory[f"norm1.{v}"] + eps).sqrt()
        for m, v in (("source_mean", "source_var"), ("mean", "var"))
    ]
    assert int(shares.argmax()) == int((ratio[0] - ratio[1]).abs().argmin())
    for part in ("mean", "var"):
        memory[f"norm1.{part}"].copy_(memory[f"norm1.source_{part}"])
    assert torch.equal(adaptation.transferability("norm1"), torch.ones(8, dtype=torch.float64))


def test_osuda_shrinks_a_change_by_the_penaltys_threshold(model, field):
    """Rate times lambda times 1 + a; with statistics alike a is 1 in every channel."""
    adaptation = follow(Osuda(strength=0.5, rate=0.01), model, field[0])
    for part in ("mean", "var"):
        adaptation.memory[f"norm1.{part}"].copy_(adaptation.memory[f"norm1.source_{part}"])
    weight, source = adaptation.affine["norm1.weight"], adaptation.memory["source.norm1.weight"]
    change = torch.tensor([0.5, -0.5, 0.011, -0.011, 0.009, -0.009, 0.0, 0.02])
    with torch.no_grad():
        weight.copy_(source + change)
    adaptation._hold()
    expected = torch.tensor([0.49, -0.49, 0.001, -0.001, 0.0, 0.0, 0.0, 0.01])
    torch.testing.assert_close(weight.detach() - source, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["tent", "osuda"])
def test_a_restored_snapshot_holds_the_moments_of_adam(kind, model, field):
    adaptation = follow(Adapter.parse(kind), model, field[0])
    other = Adapter.parse(kind).prepare(copy.deepcopy(model))
    other.restore(adaptation.snapshot())
    for _ in range(3):
        adaptation.observe(field[0]), other.observe(field[0])
    assert same(adaptation.finalise(), other.finalise())
