"""Adaptive clipping: each unit against the formula, and what it must not change."""

import copy

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from eyas.training import train
from eyas.training.gradient_clipping import clip_adaptively, last_layer
from eyas.training.recipes import Recipe
from eyas.training.recipes.sgd import SGD


@pytest.fixture
def net():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(24, 5))
    model(torch.randn(8, 3, 4, 4)).square().sum().backward()
    return model


def gradients(model):
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def test_every_unit_is_scaled_to_the_share_of_its_weights(net):
    before = gradients(net)
    clip_adaptively(net, 0.01)
    for name, parameter in list(net.named_parameters())[:4]:
        parts = before[name], parameter.detach(), parameter.grad
        triples = [parts] if parameter.ndim == 1 else zip(*parts, strict=True)
        for gradient, weight, clipped in triples:
            limit = 0.01 * max(float(weight.norm()), 1e-3)
            torch.testing.assert_close(clipped, gradient * min(1, limit / max(float(gradient.norm()), 1e-6)))
            assert float(clipped.norm()) <= limit * 1.0001


def test_small_gradients_and_the_last_layer_stay_as_they_are(net):
    before = gradients(net)
    clip_adaptively(net, 1e9)
    assert all(torch.equal(before[name], value) for name, value in gradients(net).items())
    clip_adaptively(net, 1e-6)
    after = gradients(net)
    for name in ("4.weight", "4.bias"):
        assert torch.equal(before[name], after[name])
    assert not torch.equal(before["0.weight"], after["0.weight"])


def test_weights_and_gradients_scaled_alike_are_clipped_alike(net):
    other = copy.deepcopy(net)
    with torch.no_grad():
        for parameter, source in zip(other.parameters(), net.parameters(), strict=True):
            parameter.mul_(8)
            parameter.grad = source.grad * 8
        net[0].bias.normal_()  # norms above the least
        other[0].bias.copy_(net[0].bias * 8)
        net[1].bias.normal_()
        other[1].bias.copy_(net[1].bias * 8)
    for model in (net, other):
        clip_adaptively(model, 0.02)
    for one, two in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one.grad * 8, two.grad)


def test_what_has_no_gradient_keeps_none(net):
    net[0].weight.grad = None
    clip_adaptively(net, 0.01)
    assert net[0].weight.grad is None
    assert last_layer(net) is net[4]
    assert last_layer(nn.ReLU()) is None


@pytest.mark.parametrize(("options", "limit"), [({"clip_norm": 0.5}, 0.5), ({"clip_norm": 1e6}, None), ({}, None)])
def test_all_gradients_together_have_at_most_the_norm_asked_for(net, options, limit):
    before = gradients(net)
    Recipe.parse({"kind": "sgd"} | options).clip(net)
    norm = torch.cat([value.flatten() for value in gradients(net).values()]).norm()
    if limit:
        assert float(norm) == pytest.approx(limit, rel=1e-4)
    else:
        assert all(torch.equal(before[name], value) for name, value in gradients(net).items())


def test_training_clips_in_every_step(digits, tiny):
    norms = []

    def record(optimiser, *_):
        gradients = [
            p.grad.flatten() for group in optimiser.param_groups for p in group["params"] if p.grad is not None
        ]
        norms.append(float(torch.cat(gradients).norm()))

    handle = register_optimizer_step_pre_hook(record)
    try:
        for limit in (None, 0.1):
            train(tiny(), *digits[:2], recipe=SGD(batch_size=32, learning_rate=0.1, clip_norm=limit), epochs=1)
    finally:
        handle.remove()
    free, clipped = norms[:8], norms[8:]
    assert len(clipped) == 8
    assert min(free) > 0.1
    assert clipped == pytest.approx([0.1] * 8, rel=1e-3)


@pytest.mark.parametrize("name", ["clip_norm", "adaptive_clip"])
@pytest.mark.parametrize("value", [0, -1])
def test_a_limit_is_above_zero(name, value):
    with pytest.raises(ValueError, match=name):
        Recipe.parse({"kind": "sgd", name: value})
