"""The slicer's candidates against eyas.prune's, which are built anew each time."""

import numpy as np
import torch
from torch import nn

import eyas
import models
from eyas.pruning.criteria import Criterion
from eyas.scoring.slicer import Slicer


def check(model, shape, count=4):
    model.eval()
    space = eyas.trace(model, (torch.zeros(1, *shape),))
    slicer, planner = Slicer(model, space), space.planner(Criterion.parse("l1_norm"))
    rng = np.random.default_rng(0)
    x = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0))
    for _ in range(count):
        widths = [int(rng.choice(space.legal_widths(group))) for group in space.groups]
        plan = planner(widths)
        small, oracle = slicer(plan), eyas.prune(model, space, plan)
        state, expected = small.state_dict(), oracle.state_dict()
        assert state.keys() == expected.keys()
        assert all(torch.equal(state[name], expected[name]) for name in state)
        assert torch.equal(small(x), oracle(x))


def test_residual_network():
    check(models.build("resnet8", 10, width=8), (3, 16, 16))


def test_depthwise_network():
    check(models.build("mobilenet_v2", 10), (3, 32, 32), count=2)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.a, self.b = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.b.weight = self.a.weight
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.stem(x)
        return self.head((x + self.b(self.a(x).relu())).mean((2, 3)))


def test_tied_weights_stay_tied():
    model = Tied()
    check(model, (3, 8, 8))
    small = Slicer(model, space := eyas.trace(model.eval(), (torch.zeros(1, 3, 8, 8),)))(space.plan())
    assert small.a.weight is small.b.weight


def test_writing_statistics_never_reaches_the_dense_network():
    model = models.build("resnet8", 10, width=8).eval()
    space = eyas.trace(model, (torch.zeros(1, 3, 16, 16),))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    small = Slicer(model, space)(space.plan())
    for buffer in small.buffers():
        buffer.fill_(7)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_channels_last_weights_stay_so():
    model = models.build("resnet8", 10, width=8).eval().to(memory_format=torch.channels_last)
    space = eyas.trace(model, (torch.zeros(1, 3, 16, 16),))
    small = Slicer(model, space)(space.plan({space.groups[1].name: 3}))
    weights = [p for p in small.parameters() if p.ndim == 4]
    assert weights
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)
