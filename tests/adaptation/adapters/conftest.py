import copy

import pytest
import torch
from torch import nn

import models


@pytest.fixture(scope="session")
def trained():
    """A small residual network that knows ten coloured patterns, and the patterns, (10, 3, 8, 8)."""
    torch.manual_seed(0)
    patterns = torch.randn(10, 3, 8, 8)
    model = models.build("resnet8", 10).train()
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(30):
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
