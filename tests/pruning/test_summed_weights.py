"""One convolution with a sum of several weights (re-parameterisation in the forward code): all are cut alike."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import eyas


class Summed(nn.Module):
    """Two branches' weights combined in some ``way``."""

    def __init__(self, inputs: int, outputs: int, way: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.c3, self.c1 = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(inputs, outputs, 1)
        self.register_buffer("kernel", torch.rand(outputs, inputs, 3, 3))
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        weight = self.way(self.c3.weight, functional.pad(self.c1.weight, (1, 1, 1, 1))) * self.kernel
        return torch.relu(functional.conv2d(x, weight, self.c3.bias + self.c1.bias, padding=1))


WAYS = {
    "a sum": lambda a, b: a + b,
    "the other order": lambda a, b: b + a,
    "a difference": lambda a, b: a - 0.5 * b,
    "three": lambda a, b: (a + b) + a.flip(-1),
}


@pytest.mark.parametrize("way", WAYS)
def test_summed_weights_are_prunable(way: str) -> None:
    torch.manual_seed(0)
    blocks = Summed(3, 16, WAYS[way]), Summed(16, 24, WAYS[way])
    model = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 5)).eval()
    images = torch.randn(2, 3, 8, 8)
    space = eyas.trace(model, (images,))
    assert [group.channels for group in space.groups] == [16, 24]
    first, second = (set(group.layers) for group in space.groups)
    assert {"0.c3", "0.c1"} <= first
    assert {"1.c3", "1.c1"} <= second
    plan = space.plan({space.groups[0].name: 7, space.groups[1].name: 11})
    small = eyas.prune(model, space, plan)
    removed = [channel for channel in range(16) if channel not in plan.kept[space.groups[0].name]]
    last = [channel for channel in range(24) if channel not in plan.kept[space.groups[1].name]]
    with torch.no_grad():
        answer = small(images)
        for branch in (model[1].c3, model[1].c1):
            branch.weight[:, removed] = 0
        model[4].weight[:, last] = 0
        assert torch.allclose(answer, model(images), atol=1e-6)
