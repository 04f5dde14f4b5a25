"""Distances of statistics against torch's, and what is gathered against the whole batch."""

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from eyas.adaptation.drift.layer_moments import LayerMoments, MomentSum, held_moments
from eyas.adaptation.drift.observation import observe
from eyas.deploy.bn_statistics import bn_statistics
from eyas.errors import DataError


def moments(mean: float, variance: float) -> LayerMoments:
    return LayerMoments(torch.tensor([mean]).double(), torch.tensor([variance]).double(), 0.0)


def test_the_divergence_is_that_of_both_gaussians() -> None:
    one, other = moments(0.3, 0.5), moments(-0.2, 2.0)
    first, second = Normal(0.3, 0.5**0.5), Normal(-0.2, 2**0.5)
    expected = float(kl_divergence(first, second) + kl_divergence(second, first))
    assert one.symmetric_kl(other) == pytest.approx(expected, rel=1e-6) == other.symmetric_kl(one)
    assert one.symmetric_kl(one) == 0
    assert one.mean_shift(other) == pytest.approx(0.5 / 0.5**0.5)


def test_what_is_gathered_in_batches_is_that_of_all_images() -> None:
    values = 1000 + torch.randn(10, 3, 7, generator=torch.Generator().manual_seed(0))
    held = LayerMoments(torch.full((3,), 999.0).double(), torch.ones(3).double(), 0.0)
    total = MomentSum(held)
    shifts = torch.cat([total.add(part) for part in values.split(4)])
    channels = values.double().movedim(1, 0).flatten(1)
    torch.testing.assert_close(total.moments().mean, channels.mean(1), rtol=0, atol=1e-4)
    torch.testing.assert_close(total.moments().variance, channels.var(1, correction=0), rtol=1e-3, atol=0)
    torch.testing.assert_close(shifts, (values.double().mean(2) - 999).square().mean(1), rtol=1e-3, atol=1e-4)


def test_layers_see_the_same_however_images_are_cut(spots: nn.Module, draw) -> None:
    images, held = draw(50, 5)[0], held_moments(spots)
    whole, parts = observe(spots, images, held), observe(spots, images, held, batch_size=7)
    assert list(whole.layers) == ["features.1", "features.4"]
    for name, layer in whole.layers.items():
        torch.testing.assert_close(layer.mean, parts.layers[name].mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(layer.variance, parts.layers[name].variance, rtol=1e-4, atol=1e-5)
    first = spots.features[0](images).movedim(1, 0).flatten(1).double()
    torch.testing.assert_close(whole.layers["features.1"].mean, first.mean(1), rtol=1e-4, atol=1e-5)


def test_a_bundle_gives_what_the_model_holds(spots: nn.Module) -> None:
    own, bundled = held_moments(spots), held_moments(spots, bn_statistics(spots, 1024))
    assert own.keys() == bundled.keys()
    assert all(torch.equal(own[name].mean, bundled[name].mean) for name in own)


@pytest.mark.parametrize(
    ("part", "value", "told"),
    [
        ("var", torch.tensor([-1.0] + [1.0] * 7), "variance of -1"),
        ("var", torch.full((8,), torch.nan), "not finite"),
        ("mean", torch.zeros(3), r"shapes \[\(3,\), \(8,\)\]: the layer has 8"),
    ],
)
def test_statistics_that_no_images_made_are_refused(spots: nn.Module, part: str, value, told: str) -> None:
    bundle = bn_statistics(spots, 1024) | {f"features.4.{part}": value}
    with pytest.raises(DataError, match=told):
        held_moments(spots, bundle)
    del bundle[f"features.4.{part}"]
    with pytest.raises(DataError, match="hold nothing of features.4"):
        held_moments(spots, bundle)
