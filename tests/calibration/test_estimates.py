"""Each estimator against an oracle that computes the same numbers another way."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from eyas.calibration import Calibrator


def first_layer_values(net, images):
    """What the first batch-norm sees, (values, channels), by numpy in float64."""
    return net[0](images).detach().double().permute(0, 2, 3, 1).flatten(0, 2).numpy()


@pytest.mark.parametrize("sizes", [[96], [32, 32, 32], [90, 6], [50, 44, 2]])
def test_pooled_is_the_population_statistic_however_images_are_split(net, images, sizes):
    Calibrator.parse("pooled")(net, images.split(sizes))
    values = first_layer_values(net, images)
    np.testing.assert_allclose(net[1].running_mean, values.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(net[1].running_var, values.var(0), rtol=1e-5)


def test_pooled_counts_the_spread_between_batches_and_cumulative_misses_it(net, images):
    shifted = [images[:48] - 3, images[48:] + 3]
    pooled, cumulative = copy.deepcopy(net), net
    Calibrator.parse("pooled")(pooled, shifted)
    Calibrator.parse("cumulative")(cumulative, shifted)
    values = first_layer_values(net, torch.cat(shifted))
    np.testing.assert_allclose(pooled[1].running_var, values.var(0), rtol=1e-5)
    halves = np.split(values, 2)
    np.testing.assert_allclose(cumulative[1].running_var, np.mean([h.var(0) for h in halves], 0), rtol=1e-3)
    assert (cumulative[1].running_var < pooled[1].running_var).all()


def test_cumulative_is_update_bn_where_there_is_no_dropout(net, images):
    net[3] = nn.Identity()
    oracle = copy.deepcopy(net)
    update_bn(images.split(32), oracle)
    Calibrator.parse("cumulative")(net, images.split(32))
    for mine, theirs in zip(net.buffers(), oracle.buffers(), strict=True):
        if mine.ndim:
            torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("momentum", [0.1, 0.3, 1.0])
def test_moving_average_has_the_published_closed_form(net, images, momentum):
    start = net[1].running_mean.double().numpy()
    batches = images.split(16)
    Calibrator.parse({"kind": "moving_average", "momentum": momentum})(net, batches)
    weights = [momentum * (1 - momentum) ** (len(batches) - 1 - t) for t in range(len(batches))]
    expected = start * (1 - momentum) ** len(batches)
    expected = expected + sum(w * first_layer_values(net, b).mean(0) for w, b in zip(weights, batches, strict=True))
    np.testing.assert_allclose(net[1].running_mean, expected, rtol=1e-4, atol=1e-5)


def test_order_matters_to_the_moving_average_alone(net, images):
    batches = list(images.split(24))
    for kind, alike in [("pooled", True), ("cumulative", True), ("moving_average", False)]:
        one, other = copy.deepcopy(net), copy.deepcopy(net)
        Calibrator.parse(kind)(one, batches)
        Calibrator.parse(kind)(other, batches[::-1])
        assert torch.allclose(one[5].running_var, other[5].running_var, rtol=1e-5) == alike, kind


def test_a_layer_used_twice_pools_both_calls(images):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x):
            return self.norm(self.norm(x) * 2 + 1)

    net = Twice()
    Calibrator.parse("pooled")(net, [images])
    first = images.double().transpose(0, 1).flatten(1)
    mean, var = first.mean(1, keepdim=True), first.var(1, unbiased=False, keepdim=True)
    second = (first - mean) / (var + net.norm.eps).sqrt() * 2 + 1
    both = torch.cat([first, second], 1)
    torch.testing.assert_close(net.norm.running_var.double(), both.var(1, unbiased=False), rtol=1e-4, atol=1e-5)
