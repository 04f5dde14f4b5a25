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


def test_image_weighted_is_the_weighted_mean_of_what_batches_show(net, images):
    batches = images.split([60, 30, 6])
    Calibrator.parse("image_weighted")(net, batches)
    values = [first_layer_values(net, batch) for batch in batches]
    shares = np.array([60, 30, 6]) / 96
    for buffer, estimate in ((net[1].running_mean, np.mean), (net[1].running_var, np.var)):
        expected = sum(share * estimate(part, 0) for share, part in zip(shares, values, strict=True))
        np.testing.assert_allclose(buffer, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kappa", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("count", [1, 2, 50])
def test_the_kappa_schedule_has_its_closed_form(kappa, count):
    source, weights = Calibrator.parse({"kind": "kappa_schedule", "momentum": 0.2, "kappa": kappa}).weights(count)
    eta, ratio = 0.2**kappa, 0.8**kappa
    for _ in range(count - 1):
        eta = eta / (eta + ratio)
    np.testing.assert_allclose(weights, eta * ratio ** np.arange(count - 1, -1, -1), rtol=1e-12)
    assert source + float(weights.sum()) == pytest.approx(1, abs=1e-12)


def test_the_window_of_the_kappa_schedule_is_the_published_one():
    _, weights = Calibrator.parse({"kind": "kappa_schedule", "momentum": 0.1, "kappa": 0.5}).weights(2000)
    assert 1 / float(weights[-1]) == pytest.approx(1 / (1 - 0.9**0.5), rel=1e-9)


@pytest.mark.parametrize(("kappa", "same"), [(1, "moving_average"), (0, "cumulative")])
def test_the_kappa_schedule_has_the_two_averages_as_its_ends(net, images, kappa, same):
    other = copy.deepcopy(net)
    Calibrator.parse({"kind": "kappa_schedule", "kappa": kappa})(net, images.split(16))
    Calibrator.parse(same)(other, images.split(16))
    for one, two in zip(net.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


def test_source_mix_lies_between_what_was_and_what_is(net, images):
    before, pooled, mixed = copy.deepcopy(net), copy.deepcopy(net), copy.deepcopy(net)
    Calibrator.parse("pooled")(pooled, images.split(32))
    Calibrator.parse({"kind": "source_mix", "source_weight": 0.25})(mixed, images.split(32))
    for old, new, between in zip(before.buffers(), pooled.buffers(), mixed.buffers(), strict=True):
        torch.testing.assert_close(between, (0.25 * old + 0.75 * new).to(old.dtype), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "same"),
    [({"source_weight": 1}, None), ({"source_weight": 0}, "pooled"), ({"source_images": 0}, "pooled")],
)
def test_source_mix_has_both_as_its_ends(net, images, options, same):
    other = copy.deepcopy(net)
    Calibrator.parse({"kind": "source_mix"} | options)(net, images.split(32))
    if same:
        Calibrator.parse(same)(other, images.split(32))
    for one, two in zip(net.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-6)


def test_old_statistics_count_for_as_many_images_as_is_said():
    mix = Calibrator.parse({"kind": "source_mix", "source_images": 300})
    assert mix.weight(100) == 0.75
    assert mix.weight(0) == 1


def test_an_exact_mixture_has_the_variance_of_both_sets_of_values_together(net, images):
    source, target = images[:48] * 2 + 1, images[48:]
    Calibrator.parse("pooled")(net, [source])
    Calibrator.parse({"kind": "source_mix", "exact": True})(net, [target])
    values = first_layer_values(net, torch.cat([source, target]))
    np.testing.assert_allclose(net[1].running_mean, values.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(net[1].running_var, values.var(0), rtol=1e-4)


@pytest.mark.parametrize("sizes", [[96], [90, 6], [2] * 48])
def test_layer_by_layer_holds_for_what_each_layer_sees_in_use(net, images, sizes):
    Calibrator.parse("layer_by_layer")(net, images.split(sizes))
    seen = {}
    for layer in (net[1], net[5]):
        layer.register_forward_pre_hook(lambda layer, inputs: seen.update({layer: inputs[0].double()}))
    net(images)
    for layer, inputs in seen.items():
        values = inputs.transpose(0, 1).flatten(1)
        torch.testing.assert_close(layer.running_mean.double(), values.mean(1), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(layer.running_var.double(), values.var(1, unbiased=False), rtol=1e-4, atol=1e-5)


def test_pooled_of_deep_layers_depends_on_the_batches_and_layer_by_layer_does_not(net, images):
    spread = {}
    for kind in ("pooled", "layer_by_layer"):
        nets = [copy.deepcopy(net), copy.deepcopy(net)]
        for other, size in zip(nets, (96, 4), strict=True):
            Calibrator.parse(kind)(other, images.split(size))
        spread[kind] = float((nets[0][5].running_var - nets[1][5].running_var).abs().max())
    assert spread["layer_by_layer"] < 1e-5 < spread["pooled"]


def test_layer_by_layer_follows_the_order_in_which_layers_run(images):
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.never, self.first = nn.BatchNorm2d(3), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

        def forward(self, x):
            return self.last(self.first(x).relu())

    net = Backwards()
    never = copy.deepcopy(net.never.state_dict())
    Calibrator.parse("layer_by_layer")(net, images.split(24))
    hidden = net.eval().first(images).relu()
    torch.testing.assert_close(net.last.running_mean, hidden.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, never[name]) for name, value in net.never.state_dict().items())
