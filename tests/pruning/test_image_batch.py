"""What one image is among the example inputs: the cost is per image, with a batch, without one, and beside others."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import eyas
from eyas.networks.architecture_record import read_record


class Alone(nn.Module):
    """Adds the batch that its caller leaves out."""

    def __init__(self, channels=3):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1))

    def forward(self, x):
        return self.body(x.unsqueeze(0)).mean((2, 3))[0]


class Folded(nn.Module):
    """Convolves all images of a batch as groups of one."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 3, 3, 3))
        self.last = nn.Conv2d(6, 4, 1)

    def forward(self, x):
        n, c, h, w = x.shape
        weight = self.weight.repeat(n, 1, 1, 1)
        x = nn.functional.conv2d(x.reshape(1, n * c, h, w), weight, padding=1, groups=n)
        return self.last(torch.relu(x.view(n, -1, h, w)))


class WithPoints(nn.Module):
    """Takes points, a temperature and images."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1))

    def forward(self, points, temperature, x):
        return self.body(x) * temperature, points * 2


@settings(max_examples=15, deadline=None)
@given(channels=st.integers(1, 6), size=st.integers(4, 7), alone=st.booleans())
def test_one_image_without_a_batch_costs_what_it_costs_in_one(channels, size, alone):
    network = Alone(channels) if alone else conv_net(channels)
    image = torch.zeros(channels, size, size)
    cost = eyas.trace(network, (image,)).cost()
    batched = network.body if alone else network
    assert cost == eyas.trace(batched, (image[None].repeat(2, 1, 1, 1),)).cost()
    assert cost.macs == size * size * 9 * (channels * 8 + 8 * 4)


def conv_net(channels):
    return nn.Sequential(nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1))


@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 7, 5)])
def test_linear_layers_take_rows(shape):
    space = eyas.trace(nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)), (torch.zeros(shape),))
    rows = shape[1] if len(shape) == 3 else 1
    assert space.cost().macs == rows * (5 * 6 + 6 * 3)


def test_segmentation_of_as_many_classes_as_channels():
    """The output's first dimension says nothing."""
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1))
    assert eyas.trace(network, (torch.zeros(3, 6, 6),)).cost().macs == 36 * (9 * 3 * 8 + 8 * 3)


@pytest.mark.parametrize("images", [1, 3])
def test_a_batch_that_is_folded_into_channels_is_one(images):
    assert eyas.trace(Folded(), (torch.zeros(images, 3, 5, 5),)).cost().macs == 25 * (9 * 3 * 6 + 6 * 4)


@pytest.mark.parametrize(("images", "batched"), [((2, 3, 6, 6), True), ((3, 6, 6), False)])
def test_a_saved_network_knows_the_shape_of_its_images(images, batched, tmp_path: Path):
    network = WithPoints()
    space = eyas.trace(network, (torch.zeros(5, 2), torch.tensor(0.5), torch.zeros(images)))
    plan = space.plan({group.name: group.channels // 2 for group in space.groups})
    eyas.save(eyas.prune(network, space, plan), tmp_path, space=space, plan=plan, architecture="tests:net")
    assert read_record(tmp_path).input_shape == (3, 6, 6)
    assert space.cost().macs == 36 * 9 * (3 * 8 + 8 * 4), batched
