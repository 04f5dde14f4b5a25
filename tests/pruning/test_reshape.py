"""Flattening, views, permutations; literals that hard-wire a width."""

import pytest
import torch
from torch import Tensor, nn

from tests.pruning.oracle import check, frozen_reason, group_of


class Flattened(nn.Module):
    def __init__(self, how: object, features: int = 6 * 16) -> None:
        super().__init__()
        self.a, self.how, self.fc, self.out = nn.Conv2d(3, 6, 1), how, nn.Linear(features, 7), nn.Linear(7, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.fc(self.how(self.a(x))))


@pytest.mark.parametrize(
    "how",
    [
        lambda x: x.flatten(1), lambda x: x.view(x.size(0), -1), lambda x: x.reshape(2, -1),
        lambda x: x.permute(0, 2, 3, 1).flatten(1), lambda x: x.flatten(2).transpose(1, 2).reshape(x.shape[0], -1),
        lambda x: x.unsqueeze(1).squeeze(1).movedim(1, -1).flatten(1),
        lambda x: x.unfold(2, 2, 2).flatten(1) if False else x.contiguous().flatten(1),
    ],
)  # fmt: skip
def test_features_repeat_their_channel(how: object) -> None:
    space = check(Flattened(how), (torch.randn(2, 3, 4, 4),))
    assert group_of(space, "a").channels == 6


@pytest.mark.parametrize(
    "how",
    [
        lambda x: x.view(2, 96),
        lambda x: x.view(x.shape[0], 6, -1).flatten(1),
        lambda x: x.view(-1, 6, 4, 4).flatten(1),
        lambda x: x.reshape(2, 6, 16).transpose(1, 2).reshape(2, 96),
    ],
)
def test_literal_widths_freeze_and_are_shown(how: object) -> None:
    space = check(Flattened(how), (torch.randn(2, 3, 4, 4),))
    reason = frozen_reason(space, "a")
    assert "hard-wired" in reason
    assert group_of(space, "fc").channels == 7


class Tokens(nn.Module):
    """Channels-last tokens: mixing over positions, then over channels (Tolstikhin et al. 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.t1, self.t2 = nn.Conv2d(3, 6, 1), nn.Linear(16, 10), nn.Linear(10, 16)
        self.c1, self.c2, self.head = nn.Linear(6, 9), nn.Linear(9, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x).flatten(2)
        x = x + self.t2(torch.relu(self.t1(x)))
        x = x.transpose(1, 2)
        x = x + self.c2(torch.relu(self.c1(x)))
        return self.head(x.mean(1))


def test_two_labelled_dimensions_at_once() -> None:
    space = check(Tokens(), (torch.randn(2, 3, 4, 4),))
    assert {g.name: g.channels for g in space.groups} == {"a": 6, "t1": 10, "c1": 9}


class PerChannel(nn.Module):
    """Channels moved into the batch and back."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 6, 1), nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        n, c, h, w = x.shape
        return self.c(self.b(x.reshape(n * c, 1, h, w)).reshape(n, c, h, w))


def test_channels_in_the_batch() -> None:
    space = check(PerChannel(), (torch.randn(2, 3, 4, 4),))
    assert group_of(space, "a").channels == 6


def test_bare_squeeze_keeps_two_channels() -> None:
    space = check(Flattened(lambda x: x.mean((2, 3), keepdim=True).squeeze(), 6), (torch.randn(2, 3, 4, 4),))
    assert space.legal_widths("a")[0] == 2
    assert space.legal_widths("fc")[0] == 1


class Repeated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 5, 1), nn.Conv2d(10, 4, 1), nn.Conv2d(4 + 15, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        pooled = a.mean((2, 3), keepdim=True).expand_as(a)
        b = self.b(torch.cat([a.repeat(1, 1, 1, 1), pooled], 1))
        return self.c(torch.cat([b, a.repeat_interleave(3, dim=1)], 1))


def test_repeats_and_expansions() -> None:
    space = check(Repeated(), (torch.randn(2, 3, 4, 4),))
    assert {g.name: g.channels for g in space.groups} == {"a": 5, "b": 4}
