"""Grouped and depthwise convolutions with any multiplier: whole groups go, ``groups`` shrinks."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import eyas
from tests.pruning.oracle import check, group_of


@pytest.mark.parametrize("multiplier", [1, 2, 3])
def test_depthwise_follows_its_input(multiplier: int) -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6 * multiplier, 3, groups=6), nn.BatchNorm2d(6 * multiplier),
        nn.Conv2d(6 * multiplier, 3, 1),
    )  # fmt: skip
    space = check(model, (torch.randn(2, 3, 6, 6),))
    group = group_of(space, "0")
    assert (group.channels, group.step, group.layers) == (6, 1, ("0", "1", "2"))
    small = eyas.prune(model, space, space.plan({"0": 4}))
    assert (small[1].groups, small[1].in_channels, small[1].out_channels) == (4, 4, 4 * multiplier)


@pytest.mark.parametrize(("groups", "out"), [(2, 8), (4, 8), (4, 4), (2, 12)])
def test_grouped_loses_whole_groups(groups: int, out: int) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, out, 3, groups=groups), nn.Conv2d(out, 3, 1))
    space = check(model, (torch.randn(2, 3, 6, 6),))
    group = group_of(space, "0")
    assert (group.channels, group.step) == (8, 8 // groups)
    small = eyas.prune(model, space, space.plan({"0": 8 // groups}))
    assert (small[2].groups, small[2].weight.shape[0]) == (1, out // groups)


def test_grouped_after_grouped_with_other_groups() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 12, 1), nn.Conv2d(12, 12, 3, groups=6), nn.Conv2d(12, 24, 3, groups=4), nn.Conv2d(24, 2, 1)
    )
    space = check(model, (torch.randn(2, 3, 8, 8),))
    assert group_of(space, "0").step == 6


def test_grouped_on_the_input_image_is_frozen() -> None:
    model = nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.Conv2d(8, 6, 1), nn.Conv2d(6, 2, 1))
    space = check(model, (torch.randn(2, 4, 6, 6),))
    assert [group.name for group in space.groups] == ["1"]


class Functional(nn.Module):
    def __init__(self, literal: bool) -> None:
        super().__init__()
        self.conv, self.head, self.literal = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 2, 1), literal
        self.weight = nn.Parameter(torch.randn(6, 1, 3, 3))
        self.register_buffer("blur", torch.ones(6, 1, 2, 2) / 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = functional.conv2d(x, self.weight, groups=6 if self.literal else x.shape[1])
        return self.head(functional.conv2d(x, self.blur, groups=x.shape[1]))


def test_functional_depthwise_with_computed_groups() -> None:
    space = check(Functional(literal=False), (torch.randn(2, 3, 6, 6),))
    assert group_of(space, "conv").channels == 6


def test_functional_depthwise_with_literal_groups_freezes() -> None:
    space = check(Functional(literal=True), (torch.randn(2, 3, 6, 6),))
    assert not space.groups
    reason = next(group.reason for group in space.frozen if "conv" in group.layers)
    assert "hard-wired" in reason
    assert "groups=6 if self.literal" in reason
