import pytest
import torch
from torch import Tensor, nn


def network(width: int = 6, seed: int = 0) -> nn.Module:
    """Two batch-norms in float64, a shortcut, four classes."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, 8, 3, stride=2, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    )  # fmt: skip
    with torch.no_grad():
        for layer in (model[1], model[4]):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    return model.double().eval()


@pytest.fixture
def net() -> nn.Module:
    return network()


@pytest.fixture
def images() -> Tensor:
    """Each image darker or brighter than the one before, so that sites differ."""
    noise = torch.randn(60, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return noise + torch.linspace(-3, 3, 60, dtype=torch.float64)[:, None, None, None]


@pytest.fixture
def labels() -> Tensor:
    return torch.arange(60) // 15
