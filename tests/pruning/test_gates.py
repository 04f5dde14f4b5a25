"""Squeeze-excite, layer scale and other per-channel parameters and buffers."""

import torch
from torch import Tensor, nn

import eyas
from tests.pruning.networks import SqueezeExcite
from tests.pruning.oracle import check, group_of


def test_squeeze_excite_has_its_own_hidden_group() -> None:
    model = nn.Sequential(nn.Conv2d(3, 12, 1), SqueezeExcite(12, 4), nn.Conv2d(12, 2, 1))
    space = check(model, (torch.randn(2, 3, 5, 5),))
    assert {g.name: (g.channels, g.layers) for g in space.groups} == {
        "0": (12, ("0", "1.expand")), "1.reduce": (4, ("1.reduce",)),
    }  # fmt: skip


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 7, 1), nn.Conv2d(7, 7, 1), nn.Conv2d(7, 2, 1)
        self.gamma = nn.Parameter(torch.full((7, 1, 1), 1e-6))
        self.shift = nn.Parameter(torch.randn(1, 7, 1, 1))
        self.temperature = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("mean", torch.randn(7))
        self.register_buffer("hidden", torch.randn(7, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        x = x + self.gamma * self.b(x) - self.mean[:, None, None]
        x = torch.addcmul(self.shift, x, self.hidden)
        return self.c(torch.where(x > 0, x * self.temperature, 0.1 * x))


def test_bare_parameters_and_buffers_are_sliced() -> None:
    model = Scaled()
    space = check(model, (torch.randn(2, 3, 5, 5),))
    small = eyas.prune(model, space, space.plan({"a": 3}))
    assert small.gamma.shape == (3, 1, 1)
    assert small.shift.shape == (1, 3, 1, 1)
    assert small.mean.shape == (3,)
    assert small.hidden.shape == (3, 1, 1)


class SpatialGate(nn.Module):
    """A map of one channel over space, broadcast over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.gate, self.c = nn.Conv2d(3, 7, 1), nn.Conv2d(7, 1, 3, padding=1), nn.Conv2d(7, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        return self.c(x * torch.sigmoid(self.gate(x)))


def test_a_one_channel_gate_ties_nothing() -> None:
    space = check(SpatialGate(), (torch.randn(2, 3, 5, 5),))
    assert group_of(space, "a").channels == 7


class EfficientAttention(nn.Module):
    """A 1d convolution across channels (Wang et al. 2020): neighbours matter, so it freezes."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.k, self.c, self.d = (
            nn.Conv2d(3, 7, 1),
            nn.Conv1d(1, 1, 3, padding=1),
            nn.Conv2d(7, 5, 1),
            nn.Conv2d(5, 2, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        y = self.k(x.mean((2, 3)).unsqueeze(1)).transpose(1, 2).unsqueeze(-1)
        return self.d(self.c(x * torch.sigmoid(y)))


def test_a_convolution_across_channels_freezes_them() -> None:
    space = check(EfficientAttention(), (torch.randn(2, 3, 5, 5),))
    assert [group.name for group in space.groups] == ["c"]
