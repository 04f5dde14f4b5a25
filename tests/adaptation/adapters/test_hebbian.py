"""Hebbian learning of the first convolution: the rule, its fixed point, and Tent where it does not learn."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from eyas.adaptation.adapters.hebbian import Hebbian, hebbian_change
from eyas.adaptation.adapters.tent import Tent
from eyas.errors import ParameterError


def follow(adaptation, images, batches=3):
    for batch in images.chunk(batches):
        adaptation.observe(batch)
    return adaptation


@pytest.mark.parametrize(
    "options",
    [
        {"padding": 1},
        {"stride": 2, "dilation": 2, "bias": False},
        {"padding": "same", "padding_mode": "reflect"},
        {"padding": (0, 2), "groups": 3},
    ],
)
def test_the_change_is_that_of_the_formula_over_all_patches(options):
    torch.manual_seed(0)
    convolution, images = nn.Conv2d(3, 6, 3, **options).double(), torch.randn(4, 3, 7, 8).double()
    mode = {"reflect": "reflect"}.get(convolution.padding_mode, "constant")
    padded = functional.pad(images, convolution._reversed_padding_repeated_twice, mode)
    unfolded = functional.unfold(padded, 3, convolution.dilation, 0, convolution.stride)
    patches = unfolded.transpose(1, 2).reshape(-1, convolution.groups, 27 // convolution.groups)
    filters = convolution.weight.detach().flatten(1)
    group = torch.arange(6) // (6 // convolution.groups)
    u = torch.stack([patches[:, group[k]] @ filters[k] for k in range(6)], 1)
    y = (u / 0.5).softmax(1)
    expected = torch.stack(
        [(y[:, k, None] * (patches[:, group[k]] - u[:, k, None] * filters[k])).mean(0) for k in range(6)]
    )
    change = hebbian_change(convolution, images, 0.5).detach()
    torch.testing.assert_close(change.flatten(1), expected)


@torch.no_grad()
def test_filters_end_with_norm_one():
    torch.manual_seed(0)
    convolution, images = nn.Conv2d(3, 5, 3, padding=1), torch.randn(8, 3, 8, 8)
    before = convolution.weight.flatten(1).norm(dim=1)
    for _ in range(1500):
        convolution.weight += 0.1 * hebbian_change(convolution, images, 1.0)
    assert (before - 1).abs().min() > 0.1
    torch.testing.assert_close(convolution.weight.flatten(1).norm(dim=1), torch.ones(5), atol=1e-3, rtol=0)


def test_without_hebbian_learning_it_is_tent_on_the_modulation_alone(model, field):
    expected = Tent(loss="entropy", rate=1e-2).prepare(model)
    for name, parameter in expected.affine.items():
        parameter.requires_grad_(name.startswith("norm1."))
    follow(expected, field[0])
    adaptation = follow(Hebbian(learning=0, rate=1e-2).prepare(model), field[0])
    ours, theirs = adaptation.finalise().state_dict(), expected.finalise().state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert not torch.equal(ours["norm1.weight"], model.norm1.weight)


def test_filters_modulation_and_statistics_move_alone(model, field):
    adapted = follow(Hebbian().prepare(model), field[0]).finalise()
    before = dict(model.named_parameters())
    moved = {name for name, value in adapted.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {"conv1.weight", "norm1.weight", "norm1.bias"}


def test_one_batch_moves_the_filters_by_the_rule(model, field):
    adapted = follow(Hebbian(learning=0.5).prepare(model), field[0], batches=1).finalise()
    expected = model.conv1.weight + 0.5 * hebbian_change(model.conv1, field[0], 1.0)
    torch.testing.assert_close(adapted.conv1.weight, expected)


@pytest.mark.parametrize(
    "layers",
    [
        [nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)],
        [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)],
        [nn.AvgPool2d(2), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)],
        [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False)],
        [nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3), nn.BatchNorm2d(4)],
    ],
)
def test_a_network_that_begins_otherwise_is_refused(layers, field):
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    with pytest.raises(ParameterError, match="`model` does not begin with a convolution of the images and its"):
        Hebbian().prepare(model).observe(field[0])
