import copy

import pytest
import torch
from torch import nn


class Net(nn.Module):
    """Three convolutions, the middle one in a residual block."""

    def __init__(self):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv3, self.norm3 = nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.2))
        self.linear = nn.Linear(64, 10)

    def forward(self, images):
        shallow = self.norm1(self.conv1(images)).relu()
        middle = (shallow + self.norm2(self.conv2(shallow))).relu()
        return self.linear(self.head(self.norm3(self.conv3(middle)).relu()))


@pytest.fixture(scope="session")
def trained():
    """A network that knows ten coloured patterns, and the patterns, (10, 3, 8, 8)."""
    torch.manual_seed(0)
    patterns = torch.randn(10, 3, 8, 8)
    model = Net().train()
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for step in range(60):
        images, labels = draw(patterns, 64, seed=step)
        loss = nn.functional.cross_entropy(model(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval(), patterns


def draw(patterns, count, seed, noise=1.5):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(len(patterns), (count,), generator=generator)
    return patterns[labels] + noise * torch.randn(count, *patterns.shape[1:], generator=generator), labels


@pytest.fixture
def model(trained):
    return copy.deepcopy(trained[0])


@pytest.fixture
def source(trained):
    """Images as in training, (128, 3, 8, 8)."""
    return draw(trained[1], 128, seed=1000)[0]


@pytest.fixture
def field(trained):
    """Images and labels of a field that is darker and of less contrast, (192, 3, 8, 8)."""
    images, labels = draw(trained[1], 192, seed=2000)
    return 0.4 * images + 1.5, labels
