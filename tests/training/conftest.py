"""Small real data and small networks."""

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from eyas.training import TensorSplit


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits():
    """(train, score, test) of scikit-learn's digits: 256, 128 and 128 images, normalised."""
    data = load_digits()
    images = (torch.tensor(data.images, dtype=torch.float32)[:, None] / 16 - 0.3053) / 0.3764
    labels = torch.tensor(data.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    parts = order[:256], order[256:384], order[384:512]
    return tuple(TensorSplit(images[part], labels[part]) for part in parts)


class Tiny(nn.Module):
    """Convolution, batch-norm, dropout, linear."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.dropout = nn.Dropout(0.2)
        self.linear = nn.Linear(8 * 4 * 4, num_classes)

    def forward(self, x):
        pooled = functional.avg_pool2d(self.bn(self.conv(x)).relu(), 2)
        return self.linear(self.dropout(pooled.flatten(1)))


@pytest.fixture
def tiny():
    """The same fresh network at every call."""

    def make(num_classes: int = 10) -> Tiny:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return Tiny(num_classes)

    return make
