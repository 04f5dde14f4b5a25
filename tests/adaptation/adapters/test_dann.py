"""Domain-adversarial training: the reversed gradient, its schedule, and what the discriminator ends at."""

import math

import pytest
import torch
from torch import nn

from eyas.adaptation.adapters.dann import Dann, reversal_weight, reverse_gradient
from eyas.adaptation.adapters.readout import last_linear
from eyas.errors import ParameterError


def test_the_gradient_is_reversed_and_the_features_are_not():
    features = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.equal(reverse_gradient(features, 0.3), features)
    reverse_gradient(features, 0.3).pow(3).sum().backward()
    reversed_gradient, features.grad = features.grad, None
    (-0.3 * features.pow(3)).sum().backward()
    torch.testing.assert_close(reversed_gradient, features.grad)


def test_the_weight_grows_by_the_schedule_and_stays():
    assert reversal_weight(0) == 0
    assert reversal_weight(0.1) == pytest.approx(0.46212, abs=1e-5)
    assert reversal_weight(1) == reversal_weight(5) == pytest.approx(0.9999, abs=1e-4)


def test_each_batch_is_reversed_by_its_share_of_the_horizon(model, source, field, monkeypatch):
    adaptation, weights = Dann(horizon=4).prepare(model, source=source), []
    loss = adaptation.loss
    monkeypatch.setattr(adaptation, "loss", lambda *passed: weights.append(passed[3]) or loss(*passed))
    for _ in range(6):
        adaptation.observe(field[0][:16])
    assert weights == pytest.approx([math.tanh(5 * share) for share in (0, 0.25, 0.5, 0.75, 1, 1)])


def test_the_discriminator_reads_what_the_last_linear_layer_reads(model, source):
    adaptation = Dann().prepare(model, source=source)
    assert adaptation.readout is adaptation.model.linear
    assert adaptation.discriminator[0].in_features == 64
    logits, features = adaptation._features(source[:16])
    torch.testing.assert_close(adaptation.model.linear(features), logits)


def test_the_network_goes_against_its_discriminator(model, source, field):
    """The weight of the reversal turns around what the convolutions get, not what the discriminator does."""
    adaptation = Dann().prepare(model, source=source)
    loss = adaptation.loss(field[0][:64], source[:64], model(source[:64]).argmax(1), 0.0)
    loss.backward()
    without = adaptation.model.conv1.weight.grad.clone()
    adaptation.optimiser.zero_grad()
    adaptation.loss(field[0][:64], source[:64], model(source[:64]).argmax(1), 1.0).backward()
    against = adaptation.model.conv1.weight.grad - without
    own = adaptation.discriminator[0].weight.grad.clone()
    adaptation.optimiser.zero_grad()
    adaptation.loss(field[0][:64], source[:64], model(source[:64]).argmax(1), -1.0).backward()
    torch.testing.assert_close(adaptation.model.conv1.weight.grad - without, -against, atol=1e-6, rtol=1e-3)
    torch.testing.assert_close(adaptation.discriminator[0].weight.grad, own)
    assert against.abs().max() > 0
    assert own.abs().max() > 0


def test_equal_fields_end_undecided_and_unharmed(model, source):
    adaptation = Dann(horizon=4, rate=1e-3).prepare(model, source=source)
    for _ in range(12):
        adaptation.observe(source)
    _, features = adaptation._features(source)
    shares = adaptation.discriminator(features).sigmoid()
    assert float(shares.mean().detach()) == pytest.approx(0.5, abs=0.1)
    assert (adaptation.finalise()(source).argmax(1) == model(source).argmax(1)).float().mean() > 0.9


def test_a_network_without_a_linear_layer_is_refused(source):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    with pytest.raises(ParameterError, match="`model` has no linear layer"):
        Dann().prepare(model, source=source)
    assert last_linear(nn.Sequential(nn.Flatten(), nn.Linear(192, 5)), source).out_features == 5
