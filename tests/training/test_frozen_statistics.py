"""Frozen statistics: gradients of eval mode, buffers that stay, the same bytes after a kill, refusals."""

import copy

import pytest
import torch
from torch import nn

import models
from eyas.errors import ParameterError
from eyas.training import train
from eyas.training.optimiser_step import Networks
from eyas.training.recipes import Recipe
from eyas.training.recipes.sgd import SGD
from tests.training.helpers import state_hash, train_killed

FROZEN = SGD(batch_size=32, learning_rate=0.05, frozen_statistics=True)


def network():
    torch.manual_seed(0)
    return models.build("resnet8", 10, width=8, in_channels=1)


def buffers(model):
    return {name: value.clone() for name, value in model.named_buffers()}


def test_a_step_is_that_of_eval_mode(digits):
    """Whatever the mode is; a plain SGD step of the eval-mode network, by hand."""
    images, labels = digits[0].images[:16], digits[0].labels[:16]
    model, plain = network(), network().eval()
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    step = FROZEN.make_step(Networks(model.train(), None, example=images[:1]), optimiser)
    loss = step(images, ((labels, 1.0),))
    expected = nn.functional.cross_entropy(plain(images), labels)
    expected.backward()
    torch.testing.assert_close(loss, expected.detach())
    for own, other in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(own, other - 0.1 * other.grad, atol=1e-6, rtol=1e-4)
    assert not any("forward" in vars(layer) for layer in model.modules())


def test_a_guide_sees_what_batch_norm_makes(digits):
    """It is the same network: no distance at all, though batch-norm is computed elsewhere."""
    images, answers = digits[0].images[:16], ((digits[0].labels[:16], 1.0),)
    model, teacher = network(), network().eval()
    steps = [
        SGD(frozen_statistics=True, guidance=guidance).make_step(
            Networks(model, teacher, example=images[:1]), torch.optim.SGD(model.parameters(), 0.0)
        )
        for guidance in (None, {})
    ]
    plain, guided = (float(step(images, answers)) for step in steps)
    assert guided == pytest.approx(plain, rel=1e-4)


@pytest.mark.parametrize("options", [{}, {"kind": "cosub"}])
def test_statistics_stay_and_everything_else_learns(digits, options):
    model = models.build("resnet20", 10, width=8, in_channels=1) if options.get("kind") else network()
    teacher, before = copy.deepcopy(model), copy.deepcopy(model)
    recipe = Recipe.parse({"kind": "sgd", "batch_size": 32, "frozen_statistics": True, **options})
    train(model, *digits[:2], recipe=recipe, epochs=1, teacher=teacher)
    kept = buffers(before)
    assert all(torch.equal(value, kept[name]) for name, value in model.named_buffers())
    learned = dict(before.named_parameters())
    assert not any(torch.equal(value, learned[name]) for name, value in model.named_parameters())


def test_killed_and_resumed_ends_with_the_same_bytes(digits, tmp_path):
    unbroken, resumed = network(), network()
    train(unbroken, *digits[:2], recipe=FROZEN, epochs=2)
    train_killed(network(), *digits[:2], recipe=FROZEN, epochs=2, resume_folder=tmp_path)
    train(resumed, *digits[:2], recipe=FROZEN, epochs=2, resume_folder=tmp_path)
    assert state_hash(resumed) == state_hash(unbroken)


def test_batch_norm_behind_a_linear_layer_is_frozen_too(digits):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10))
    before = buffers(model)
    result = train(model, *digits[:2], recipe=FROZEN, epochs=3)
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    assert result.history[-1].train_loss < result.history[0].train_loss


def test_without_batch_norm_it_is_refused(digits):
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(ParameterError, match="the network has none: leave it out"):
        train(plain, *digits[:2], recipe=FROZEN, epochs=1)


@pytest.mark.parametrize(("kind", "words"), [("custom", "belongs into the step"), ("sandwich", "parts have others")])
def test_recipes_that_cannot_have_it_say_so(kind, words):
    with pytest.raises(ValueError, match=words):
        Recipe.parse({"kind": kind, "frozen_statistics": True})
