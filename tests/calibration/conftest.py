import pytest
import torch
from torch import nn


@pytest.fixture
def net():
    """Two batch-norms, a dropout, statistics that are not the defaults."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Conv2d(6, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8, momentum=0.3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )
    with torch.no_grad():
        for layer in (model[1], model[5]):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    return model.eval()


@pytest.fixture
def images():
    return torch.randn(96, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 + 0.5
