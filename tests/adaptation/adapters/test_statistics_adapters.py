"""Adapters that change statistics alone, against torch's own batch-norm and the formulas of their papers."""

import copy
import logging

import pytest
import torch
from torch import nn

import eyas
from eyas.adaptation.adapters import Adapter
from eyas.adaptation.adapters.alpha_bn import AlphaBn
from eyas.calibration.batchnorm import batch_norms
from eyas.errors import ParameterError


def statistics(model):
    return torch.cat([torch.stack([layer.running_mean, layer.running_var]).flatten() for layer in batch_norms(model)])


def test_all_weight_on_the_source_is_the_network_bit_for_bit(model, field):
    adapted = eyas.adapt(model, field[0], AlphaBn(source_weight=1))
    assert all(map(torch.equal, adapted.state_dict().values(), model.state_dict().values()))


def test_no_weight_on_the_source_answers_as_train_mode_does(model, field):
    """One batch: exact at any depth, as each layer stands behind corrected ones."""
    trained = copy.deepcopy(model).train()
    trained.head.eval()  # dropout
    with torch.no_grad():
        expected = trained(field[0])
    for adapter in (AlphaBn(source_weight=0), "ada_bn"):
        adaptation = Adapter.parse(adapter).prepare(model)
        torch.testing.assert_close(adaptation.observe(field[0]), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(adaptation.finalise()(field[0]), expected, atol=1e-4, rtol=1e-4)


def test_the_first_layer_holds_the_population_of_all_batches(model, field):
    adaptation = Adapter.parse("ada_bn").prepare(model)
    for batch in field[0].split([32, 64, 96]):
        adaptation.observe(batch)
    seen = model.conv1(field[0])
    first = batch_norms(adaptation.finalise())[0]
    torch.testing.assert_close(first.running_mean, seen.mean((0, 2, 3)))
    torch.testing.assert_close(first.running_var, seen.var((0, 2, 3), correction=0))


def test_a_weight_between_mixes_the_first_layer_by_the_formula(model, field):
    seen, before = model.conv1(field[0]), batch_norms(model)[0]
    first = batch_norms(eyas.adapt(model, field[0], AlphaBn(source_weight=0.25), batch_size=192))[0]
    torch.testing.assert_close(first.running_mean, 0.25 * before.running_mean + 0.75 * seen.mean((0, 2, 3)))
    variance = seen.var((0, 2, 3), correction=0)
    torch.testing.assert_close(first.running_var, 0.25 * before.running_var + 0.75 * variance)


@pytest.mark.parametrize("weight", [0.25, "by_size", "chosen"])
def test_exact_is_the_variance_of_the_mixture(weight, model, field):
    """Of values drawn from source and field by their weights, the mean of squares less the squared mean."""
    seen, before = model.conv1(field[0]).double(), batch_norms(model)[0]
    adapter = AlphaBn(source_weight=weight, source_images=64, weights=(0.25,), exact=True)
    first = batch_norms(eyas.adapt(model, field[0], adapter, batch_size=192))[0]
    mean, square = before.running_mean.double(), before.running_var.double() + before.running_mean.double() ** 2
    mixed_mean = 0.25 * mean + 0.75 * seen.mean((0, 2, 3))
    mixed_square = 0.25 * square + 0.75 * seen.square().mean((0, 2, 3))
    torch.testing.assert_close(first.running_mean.double(), mixed_mean, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(first.running_var.double(), mixed_square - mixed_mean**2, atol=1e-5, rtol=1e-4)


def test_by_size_the_source_counts_less_with_every_image(model, field):
    images = field[0][:64]
    by_size = eyas.adapt(model, images, AlphaBn(source_images=192), batch_size=64)
    fixed = eyas.adapt(model, images, AlphaBn(source_weight=192 / (192 + 64)), batch_size=64)
    assert torch.equal(statistics(by_size), statistics(fixed))


def test_the_chosen_weight_is_the_one_whose_answers_tell_most(model, field):
    @torch.no_grad()
    def information(weight):
        probabilities = eyas.adapt(model, field[0], AlphaBn(source_weight=weight), batch_size=192)(field[0]).softmax(1)
        marginal = torch.special.entr(probabilities.mean(0)).sum()
        return float(marginal - torch.special.entr(probabilities).sum(1).mean())

    adapter = AlphaBn(source_weight="chosen", weights=(1.0, 0.6, 0.0))
    best = max(adapter.weights, key=information)
    chosen = eyas.adapt(model, field[0], adapter, batch_size=192)
    expected = eyas.adapt(model, field[0], AlphaBn(source_weight=best), batch_size=192)
    assert torch.equal(statistics(chosen), statistics(expected))
    assert best < 1


@pytest.mark.parametrize("adapter", ["ada_bn", "alpha_bn", AlphaBn(source_weight="chosen")])
def test_a_darker_field_is_followed(adapter, model, field):
    images, labels = field
    right = [(net(images).argmax(1) == labels).float().mean() for net in (model, eyas.adapt(model, images, adapter))]
    assert right[1] > right[0] + 0.2


@pytest.mark.parametrize("options", [{"source_weight": 1.5}, {"source_weight": "best"}, {"weights": ()}])
def test_weights_that_are_none_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        AlphaBn(**options)


def test_too_small_a_batch_size_is_refused(model, field):
    with pytest.raises(ParameterError, match="`batch_size` is 1: ada_bn needs at least 2"):
        eyas.adapt(model, field[0], "ada_bn", batch_size=1)


def test_images_taken_for_one_class_are_said(model, field, caplog):
    with torch.no_grad():
        model.linear.bias[3] = 1e4
    with caplog.at_level(logging.WARNING):
        eyas.adapt(model, field[0])
    assert "all 192 images are taken for class 3: alpha_bn expects all classes" in caplog.text


def test_a_layer_behind_pooling_is_followed_too(field):
    """Batch-norm of two dimensions, which a layer that is called twice shares."""
    norm = nn.BatchNorm1d(3)
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), norm, norm, nn.Linear(3, 2)).eval()
    adapted = eyas.adapt(model, field[0], "ada_bn", batch_size=192)
    assert adapted(field[0]).isfinite().all()
    assert not torch.equal(adapted[2].running_mean, norm.running_mean)
