"""Calibration images are held against what batch-norm layers hold: like ones pass, others are refused."""

import pytest
import torch
from torch import nn

from eyas.deploy.calibration_check import require_like_training, statistics_distance
from eyas.errors import DataError


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    with torch.no_grad():
        for _ in range(100):
            model(torch.randn(64, 2, 8, 8) * 3 + 1)
    return model


def test_distance_by_hand() -> None:
    norm = nn.BatchNorm2d(1, eps=0.0)
    norm.running_mean.fill_(1.0)
    norm.running_var.fill_(4.0)
    images = torch.tensor([0.0, 8.0]).view(2, 1, 1, 1)  # mean 4, deviation 4
    assert statistics_distance(nn.Sequential(norm), images) == {"0": pytest.approx((1.5**2 + 1) ** 0.5)}


def test_images_of_the_training_pass_and_nothing_is_changed(network: nn.Module) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    distances = statistics_distance(network, torch.randn(128, 2, 8, 8) * 3 + 1)
    assert list(distances) == ["0", "2"]
    assert require_like_training(network, torch.randn(128, 2, 8, 8) * 3 + 1) < 0.1
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("change", [lambda x: x * 10, lambda x: x + 5, torch.zeros_like, lambda x: x * torch.nan])
def test_other_images_are_refused_with_the_layer(change, network: nn.Module) -> None:
    with pytest.raises(DataError, match=r"128 calibration images are unlike .* at [02] \(allowed: 0\.5, `max_calib"):
        require_like_training(network, change(torch.randn(128, 2, 8, 8) * 3 + 1))


def test_a_network_without_batch_norm_tells_nothing() -> None:
    assert require_like_training(nn.Conv2d(1, 1, 1), torch.zeros(2, 1, 4, 4)) == 0.0


def test_no_images_at_all_are_told_as_such(network: nn.Module) -> None:
    with pytest.raises(DataError, match=r"^there are no calibration images .*: raise `calibration_fraction`$"):
        require_like_training(network, torch.zeros(0, 2, 8, 8))
