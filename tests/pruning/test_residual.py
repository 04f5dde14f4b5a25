"""Residual sums of any arity: index by index, all addends share their channels."""

import torch
from torch import Tensor, nn

from tests.pruning.networks import Bottleneck, PaddedBlock, conv_bn
from tests.pruning.oracle import check, consumers, frozen_reason, group_of


class Sums(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Conv2d(i, 9, 3, padding=1) for i in (3, 9, 9, 3))
        self.head = nn.Conv2d(9, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x).relu()
        y = a + self.b(a) + 0.5 * self.c(a)
        y += self.d(x)
        return self.head(torch.maximum(y, a) - y.mean((2, 3), keepdim=True))


def test_all_addends_are_one_group() -> None:
    space = check(Sums(), (torch.randn(2, 3, 6, 6),))
    assert len(space.groups) == 1
    assert set(space.groups[0].layers) == {"a", "b", "c", "d"}
    assert consumers(space.groups[0]) == {"b", "c", "head"}


def test_bottleneck_with_projection() -> None:
    model = nn.Sequential(conv_bn(3, 8, 3), Bottleneck(8, 6, 16, 2), Bottleneck(16, 6, 16), nn.Conv2d(16, 3, 1))
    space = check(model, (torch.randn(2, 3, 8, 8),))
    trunk = group_of(space, "1.conv3")
    assert {"1.conv3", "1.downsample.0", "2.conv3"} <= set(trunk.layers)
    assert trunk.channels == 16


def test_sum_with_the_input_freezes() -> None:
    class WithInput(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(6, 8, 1), nn.Conv2d(8, 6, 1), nn.Conv2d(6, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.c(x + self.b(self.a(x)))

    space = check(WithInput(), (torch.randn(2, 6, 4, 4),))
    assert "fixed size" in frozen_reason(space, "b")
    assert group_of(space, "a").channels == 8


def padded_net(pad: bool) -> nn.Module:
    return nn.Sequential(
        conv_bn(3, 8, 3), PaddedBlock(8, 8, 1), PaddedBlock(8, 16, 2, pad), PaddedBlock(16, 16, 1),
        PaddedBlock(16, 32, 2, pad), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4),
    )  # fmt: skip


def test_zero_padded_shortcuts_shrink_with_their_module() -> None:
    space = check(padded_net(True), (torch.randn(2, 3, 16, 16),), seeds=5)
    streams = [group for group in space.groups if not group.name.endswith("a.0")]
    assert [group.channels for group in streams] == [8, 8, 16]
    assert [group.name for group in space.frozen] == ["7"]


def test_a_literal_pad_freezes_its_streams_only() -> None:
    space = check(padded_net(False), (torch.randn(2, 3, 16, 16),))
    for layer in ("0.0", "2.b.0", "4.b.0"):
        assert "hard-wired" in frozen_reason(space, layer)
    assert {group.name for group in space.groups} == {"1.a.0", "2.a.0", "3.a.0", "4.a.0"}
