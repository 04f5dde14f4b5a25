"""How often a channel is kept by the input: image by image in plain Python, by hand, and at the ends of the scale."""

import pytest
import torch
from torch import Tensor, nn

import eyas
from eyas.pruning.criteria.group_norm import GroupNorm
from eyas.pruning.criteria.keep_frequency import KeepFrequency, kept_by_mass
from tests.pruning.oracle import ReadByNoLayer, prepared

IMAGES = torch.randn(70, 3, 6, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


class TwoReaders(nn.Module):
    """A convolution reads the channels, and a head reads them flattened."""

    def __init__(self) -> None:
        super().__init__()
        self.make, self.near, self.flat = nn.Conv2d(3, 5, 1), nn.Conv2d(5, 4, 3), nn.Linear(5 * 36, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.make(x)
        return self.near(torch.relu(y)), self.flat(y.flatten(1))


def kept(strengths: list[float], mass: float) -> set[int]:
    """One channel after the other, the strongest first, until there is enough."""
    chosen: set[int] = set()
    for channel in sorted(range(len(strengths)), key=lambda c: -strengths[c]):
        if sum(strengths[c] for c in chosen) >= mass * sum(strengths) or not strengths[channel]:
            break
        chosen.add(channel)
    return chosen


@pytest.mark.parametrize("mass", [0.5, 0.7])
def test_image_by_image(mass: float) -> None:
    torch.manual_seed(0)
    model = prepared(TwoReaders())
    group = eyas.trace(model, (IMAGES[:2],)).group("make")
    with torch.no_grad():
        made = model.make(IMAGES)
    images = [read.abs().flatten(2).amax(2).tolist() for read in (torch.relu(made), made)]
    expected = [sum(c in kept(image, mass) for read in images for image in read) / 140 for c in range(5)]
    assert KeepFrequency(mass=mass)(group, model, IMAGES).tolist() == pytest.approx(expected)
    assert min(expected) < max(expected)


def test_by_hand_and_at_the_ends() -> None:
    strengths = torch.tensor([[4.0, 3, 2, 1, 0], [0, 0, 9, 1, 0], [0, 0, 0, 0, 0]], dtype=torch.float64)
    assert kept_by_mass(strengths, 0.69).tolist() == [[1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]]
    assert torch.equal(kept_by_mass(strengths, 1.0), (strengths > 0).double())
    assert kept_by_mass(strengths, 1e-9).sum(1).tolist() == [1, 1, 0]


def test_more_mass_keeps_more_and_without_one_it_is_the_mean_over_all() -> None:
    strengths = torch.rand(40, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kept = torch.stack([kept_by_mass(strengths, mass / 500) for mass in range(1, 501)])
    assert (kept.sum(2).diff(dim=0) >= 0).all()
    assert (kept[-1] == 1).all()
    torch.testing.assert_close(kept_by_mass(strengths, None), kept.mean(0), atol=1 / 500, rtol=0)


def test_what_decides_for_some_images_stays_before_what_is_middling_for_all() -> None:
    make = nn.Conv2d(3, 3, 1, bias=False)
    make.weight.data = torch.eye(3)[..., None, None]
    model = nn.Sequential(make, nn.ReLU(), nn.Conv2d(3, 1, 1))
    images = torch.tensor([[5.0, 3, 0], [5, 3, 0], [5, 3, 4.5], [5, 3, 4.5]])[..., None, None].expand(-1, -1, 2, 2)
    group = eyas.trace(model, (images,)).groups[0]
    assert KeepFrequency(mass=0.6)(group, model, images).tolist() == [1, 0, 0.5]
    assert images.mean((0, 2, 3)).argsort().tolist() == [2, 1, 0]


def test_what_nothing_reads_by_weights_is_rated_by_all_its_weights() -> None:
    model = ReadByNoLayer().double()
    group = eyas.trace(model, (IMAGES[:2],)).groups[0]
    torch.testing.assert_close(KeepFrequency()(group, model, IMAGES), GroupNorm()(group, model))
