"""Forward code under ``no_grad``, ``inference_mode`` or ``autocast``: the same channels are prunable."""

from contextlib import contextmanager

import pytest
import torch
from torch import nn

import eyas

MODES = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "enable_grad": torch.enable_grad,
    "set_grad_enabled": lambda: torch.set_grad_enabled(False),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16, enabled=False),
}


@contextmanager
def nested():
    with torch.no_grad(), torch.enable_grad(), torch.no_grad():
        yield


class Under(nn.Module):
    """Two convolutions and a gate, the first of them in a mode; a decorated method, too."""

    def __init__(self, mode):
        super().__init__()
        self.mode = mode
        self.first, self.second = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 8, 3, padding=1)
        self.linear = nn.Linear(8, 5)

    @torch.no_grad()
    def gate(self, x):
        return torch.sigmoid(x.mean((2, 3), keepdim=True))

    def forward(self, x):
        with self.mode():
            x = torch.relu(self.first(x))
            doubled = x * 2
        x = (x + doubled) * self.gate(x)
        return self.linear(torch.relu(self.second(x)).mean((2, 3)))


@pytest.mark.parametrize("mode", [*MODES, "nested"])
def test_the_mode_of_the_forward_code_freezes_nothing(mode):
    network, images = Under(MODES.get(mode, nested)), torch.randn(2, 3, 8, 8)
    space = eyas.trace(network, (images,))
    assert space.widths == {"first": 16, "second": 8}, space.frozen
    assert [group.name for group in space.frozen] == ["linear"]
    plain = eyas.trace(Under(lambda: torch.autograd.profiler.record_function("nothing")), (images,))
    assert space.cost() == plain.cost()
    plan = space.plan({"first": 7, "second": 3})
    eyas.check_parity(network, space, plan).require()


def test_hard_wired_channels_are_still_seen_in_a_mode():
    class Wired(Under):
        def gate(self, x):
            with torch.no_grad():
                return x.view(len(x), 16, -1).mean(2).view(len(x), -1, 1, 1)

    space = eyas.trace(Wired(torch.no_grad), (torch.randn(2, 3, 8, 8),))
    assert space.widths == {"second": 8}
    reason = next(group.reason for group in space.frozen if group.name == "first")
    assert "a number of channels is hard-wired" in reason
