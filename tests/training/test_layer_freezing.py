"""Frozen blocks keep weights and statistics within a period, others learn; resumed to the same bytes."""

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

import models
from eyas.errors import ParameterError
from eyas.training import train
from eyas.training.blocks import middle_blocks
from eyas.training.layer_freezing import FrozenBlocks, LayerFreezing
from eyas.training.recipes import Recipe
from eyas.training.recipes.sgd import SGD
from tests.training.helpers import state_hash, train_killed

BLOCKS = ("layer1.0", "layer2.0", "layer3.0")
RECIPE = SGD(batch_size=32, learning_rate=0.1, layer_freezing={"trained": 1, "period": 3})


def network():
    torch.manual_seed(0)
    return models.build("resnet8", 10, width=8, in_channels=1)


def copies(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.fixture(scope="module")
def steps(digits):
    """The network's weights before the first step and after each of 16."""
    model = network()
    states = [copies(model)]
    handle = register_optimizer_step_post_hook(lambda *_: states.append(copies(model)))
    train(model, *digits[:2], recipe=RECIPE, epochs=2)
    handle.remove()
    assert all(parameter.requires_grad for parameter in model.parameters())
    return states


def changed(before, after, prefix):
    names = [name for name in before if name.startswith(prefix)]
    return {not torch.equal(before[name], after[name]) for name in names}


def test_one_block_learns_in_each_period_and_the_others_keep_all(steps):
    drawn = []
    for first in range(0, 16, 3):
        learning = [block for block in BLOCKS if True in changed(steps[first], steps[first + 1], block)]
        assert len(learning) == 1
        last = min(first + 3, 16)
        for block in BLOCKS:
            assert changed(steps[first], steps[last], block) == ({True} if block in learning else {False})
        assert True in changed(steps[first], steps[last], "conv1")
        assert True in changed(steps[first], steps[last], "linear")
        drawn += learning
    assert len(set(drawn)) > 1


def test_moments_of_a_block_that_is_frozen_again_are_dropped():
    model = network()
    optimiser = RECIPE.make_optimiser(model)
    frozen = FrozenBlocks(LayerFreezing(trained=1, period=1), model, optimiser, seed=0)
    all_learning = set()
    for step in range(8):
        frozen.choose(step)
        optimiser.zero_grad()
        model(torch.randn(4, 1, 8, 8)).square().mean().backward()
        optimiser.step()
        with_moments = {name for name, p in model.named_parameters() if optimiser.state.get(p)}
        learning = {name for name, p in model.named_parameters() if p.requires_grad}
        assert with_moments == learning
        all_learning |= learning
    assert all_learning == {name for name, _ in model.named_parameters()}


def test_what_did_not_learn_before_does_not_learn():
    model = network()
    model.layer1.requires_grad_(False)
    frozen = FrozenBlocks(LayerFreezing(trained=2), model, RECIPE.make_optimiser(model), seed=0)
    frozen.choose(0)
    frozen.release()
    assert not any(parameter.requires_grad for parameter in model.layer1.parameters())
    assert all(parameter.requires_grad for parameter in model.layer2.parameters())


@pytest.mark.parametrize(("trained", "way"), [(3, "let at most 2 learn"), (99, "let at most 2 learn")])
def test_more_blocks_than_the_network_has_are_refused(digits, trained, way):
    recipe = SGD(batch_size=32, layer_freezing={"trained": trained})
    words = f"`layer_freezing` would freeze nothing: {trained} blocks .* has 3 between .*: {way}"
    with pytest.raises(ParameterError, match=words):
        train(network(), *digits[:2], recipe=recipe, epochs=1)


def test_killed_within_a_period_and_resumed_ends_with_the_same_bytes(digits, tmp_path):
    unbroken, resumed = network(), network()
    train(unbroken, *digits[:2], recipe=RECIPE, epochs=3)
    train_killed(network(), *digits[:2], recipe=RECIPE, epochs=3, resume_folder=tmp_path)
    assert train(resumed, *digits[:2], recipe=RECIPE, epochs=3, resume_folder=tmp_path).resumed_from == 2
    assert state_hash(resumed) == state_hash(unbroken)


def test_blocks_of_networks():
    assert [names for (names,) in middle_blocks(models.build("resnet20", 10))] == [
        f"layer{stage}.{block}" for stage in (1, 2, 3) for block in range(3)
    ]
    plain = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))
    assert middle_blocks(plain) == [("2", "3")]

    class Unit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 1)

    assert middle_blocks(nn.Sequential(*(Unit() for _ in range(4)))) == [("1",), ("2",)]  # stem and head are none
    assert middle_blocks(nn.Sequential(nn.Flatten(), nn.Linear(4, 2))) == []


def test_as_parameters_write_it():
    recipe = Recipe.parse({"kind": "sgd", "layer_freezing": {"trained": 1, "period": 3}, "batch_size": 32})
    assert recipe.layer_freezing == RECIPE.layer_freezing
    assert Recipe.parse("sgd").layer_freezing is None
    with pytest.raises(ValueError, match="layer_freezing belongs into the step"):
        Recipe.parse({"kind": "custom", "layer_freezing": {}})
