"""Images of four classes, a bright spot in one quarter each, and a network with batch-norm that tells them apart."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, one_hot

import eyas
from eyas.adaptation.drift import DriftReference

Draw = Callable[..., tuple[Tensor, Tensor]]
CLASSES = 4


def draw_images(count: int, seed: int, classes: tuple[int, ...] = (0, 1, 2, 3)) -> tuple[Tensor, Tensor]:
    """Smooth colour fields with a little noise, and their labels; 20 x 20."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.tensor(classes)[torch.randint(len(classes), (count,), generator=random)]
    fields = interpolate(torch.randn(count, 3, 4, 4, generator=random), size=20, mode="bilinear")
    spots = interpolate(one_hot(labels, 4).float().view(count, 1, 2, 2), size=20)
    return fields + 2 * spots + 0.05 * torch.randn(count, 3, 20, 20, generator=random), labels


class Spots(nn.Module):
    """Two convolutions with batch-norm, quarters averaged, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(2), nn.Flatten()),
        )
        self.head = nn.Linear(32, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


@pytest.fixture(scope="session")
def spots() -> nn.Module:
    """Trained in closed form; about nine of ten answers are right."""
    torch.manual_seed(0)
    network, (images, labels) = Spots().eval(), draw_images(1024, 1)
    eyas.recalibrate(network, images)
    with torch.no_grad():
        inputs = torch.cat([network.features(images), torch.ones(len(images), 1)], 1).double()
        targets = 6 * one_hot(labels, CLASSES).double()
        solution = torch.linalg.lstsq(inputs.T @ inputs + torch.eye(33) * 0.1, inputs.T @ targets).solution.float()
        network.head.weight.copy_(solution[:-1].T)
        network.head.bias.copy_(solution[-1])
    return network


@pytest.fixture(scope="session")
def reference(spots: nn.Module) -> DriftReference:
    images, labels = draw_images(1024, 2)
    return DriftReference.of(spots, images, labels)


@pytest.fixture
def draw() -> Draw:
    return draw_images


@pytest.fixture
def blur() -> Callable[[Tensor], Tensor]:
    return lambda images: avg_pool2d(nn.functional.pad(images, (1, 1, 1, 1), mode="reflect"), 3, stride=1)
