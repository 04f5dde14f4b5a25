"""Updates scaled by depth: both ends, linearity, the levels of a network's blocks, and what is kept."""

import copy

import pytest
import torch
from torch import nn

import models
from eyas.calibration.recalibrate import recalibrate
from eyas.training import evaluate, train
from eyas.training.depth_scaling import choose_depth_scaling, depth_levels, scaled_by_depth
from tests.training.helpers import RECIPE

IMAGES = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def pair():
    """A network, and one of the same shape that training might have made of it."""
    torch.manual_seed(0)
    start = models.build("resnet8", 10, width=8, in_channels=1).eval()
    trained = copy.deepcopy(start)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return start, trained


def differences(model, other):
    return {name: value - other.state_dict()[name] for name, value in model.named_parameters()}


def test_levels_follow_the_blocks_from_stem_to_head(pair):
    levels = depth_levels(pair[0], IMAGES[:1])
    assert levels.keys() == pair[0].state_dict().keys()
    prefixes = ("conv1.weight", "bn1.bias", "layer1.0", "layer2.0", "layer3.0", "linear")
    for prefix, level in zip(prefixes, (0, 0, 0, 0.5, 1, 1), strict=True):
        assert {value for name, value in levels.items() if name.startswith(prefix)} == {level}


def test_levels_follow_the_order_of_execution():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.d, self.c, self.b, self.a = (nn.Conv2d(1, 1, 1) for _ in range(4))

        def forward(self, images):
            return self.d(self.c(self.b(self.a(images))))

    levels = depth_levels(Backwards(), IMAGES[:1])
    assert [levels[f"{name}.weight"] for name in "abcd"] == [0, 0, 1, 1]


def test_share_one_is_the_trained_network_and_nothing_the_one_before(pair):
    start, trained = pair
    levels = depth_levels(trained, IMAGES[:1])
    same = scaled_by_depth(start, trained, levels, 1.0)
    assert all(value.abs().max() < 1e-6 for value in differences(same, trained).values())
    none = scaled_by_depth(start, trained, dict.fromkeys(levels, 0.0), 0.0)
    assert all(torch.equal(value, start.state_dict()[name]) for name, value in none.state_dict().items())


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_it_is_linear_in_the_update(pair, share):
    start, trained = pair
    levels = depth_levels(trained, IMAGES[:1])
    update, scaled = differences(trained, start), differences(scaled_by_depth(start, trained, levels, share), start)
    for name, change in update.items():
        torch.testing.assert_close(scaled[name], (share + (1 - share) * levels[name]) * change, atol=1e-6, rtol=1e-4)


def test_the_best_on_the_judging_images_is_kept(digits, tiny):
    """Training that spoiled the first layer is undone there; one that spoiled nothing stays."""
    score, start = digits[1], tiny().eval()
    for spoiled in (True, False):
        trained = copy.deepcopy(start)
        train(trained, *digits[:2], recipe=RECIPE, epochs=3)
        if spoiled:
            nn.init.zeros_(trained.conv.weight)
        states = [{name: value.clone() for name, value in model.state_dict().items()} for model in (start, trained)]
        tried = []

        def judge(model, tried=tried):
            tried.append(evaluate(model, score))
            return tried[-1]

        chosen = choose_depth_scaling(
            start, trained, IMAGES[:1], evaluation=evaluate(trained, score), judge=judge,
            recalibrate=lambda model: recalibrate(model, digits[0].images),
        )  # fmt: skip
        assert len(tried) == 10
        assert not any(other.better_than(chosen.evaluation) for other in tried)
        assert evaluate(chosen.model, score) == chosen.evaluation
        assert (chosen.share < 1) == any(other.better_than(evaluate(trained, score)) for other in tried)
        assert spoiled <= (chosen.share < 1)
        for model, state in zip((start, trained), states, strict=True):
            assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
