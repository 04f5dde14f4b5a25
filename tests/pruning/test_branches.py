"""Forward code that asks for widths (`if y.shape == x.shape`) takes another branch where pruned widths meet."""

import pytest
import torch
from torch import Tensor, nn

from tests.pruning.oracle import check, frozen_reason, group_of


class Skipping(nn.Module):
    """Adds its input where the shapes happen to be equal."""

    def __init__(self, inputs: int, outputs: int, by: str) -> None:
        super().__init__()
        self.conv, self.norm, self.by = nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), by
        self.skip = inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x))
        equal = {
            "shape": y.shape == x.shape,
            "attribute": self.conv.in_channels == self.conv.out_channels,
            "flag": self.skip,
        }
        return torch.relu(y + x if equal[self.by] else y)


def network(by: str) -> nn.Module:
    widths = [(3, 12), (12, 16), (16, 16), (16, 20)]
    return nn.Sequential(*(Skipping(i, o, by) for i, o in widths), nn.Conv2d(20, 8, 3), nn.Conv2d(8, 2, 1))


@pytest.mark.parametrize("by", ["shape", "attribute"])
def test_widths_that_decide_a_branch_freeze(by: str) -> None:
    space = check(network(by), (torch.randn(2, 3, 6, 6),))
    assert {group.name for group in space.groups} == {"4"}
    for layer in ("0.conv", "1.conv", "2.conv", "3.conv"):
        assert "another branch" in frozen_reason(space, layer)


def test_a_branch_decided_at_construction_stays_prunable() -> None:
    space = check(network("flag"), (torch.randn(2, 3, 6, 6),))
    assert [group.channels for group in space.groups] == [12, 16, 20, 8]


class Projecting(nn.Module):
    """Projects its input only where the widths differ."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.head = nn.Conv2d(3, 9, 1), nn.Conv2d(9, 14, 3, padding=1), nn.Conv2d(14, 2, 1)
        self.projection = nn.Conv2d(9, 14, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        y = self.body(x)
        return self.head(y + (self.projection(x) if x.shape[1] != y.shape[1] else x))


def test_a_projection_left_out_at_equal_widths_freezes_the_wider_side() -> None:
    space = check(Projecting(), (torch.randn(2, 3, 6, 6),), seeds=6)
    assert "another branch" in frozen_reason(space, "body")


class Counting(nn.Module):
    """A branch on one width alone, here one that another layer has."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.head = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 6, 1), nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        return self.head(self.body(x * 2 if x.shape[1] == 6 else x))


def test_only_the_group_behind_the_branch_freezes() -> None:
    space = check(Counting(), (torch.randn(2, 3, 6, 6),))
    assert "another branch" in frozen_reason(space, "stem")
    assert group_of(space, "body").channels == 6
