"""Concatenation joins channels; a consumer reads an ordered union of groups."""

import torch
from torch import Tensor, nn

from tests.pruning.oracle import check, frozen_reason, group_of


class Concat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(3, o, 1) for o in (5, 7, 4))
        self.bn = nn.BatchNorm2d(5 + 7 + 5)
        self.mix = nn.Conv2d(17, 4, 3, padding=1)
        self.head = nn.Conv2d(4 + 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a(x), self.b(x)
        y = self.mix(self.bn(torch.cat([a, b, a.relu()], 1))) + self.c(x)
        return self.head(torch.cat((y, x), dim=-3))


def test_concat_with_a_repeated_operand_and_the_input() -> None:
    space = check(Concat(), (torch.randn(2, 3, 6, 6),), seeds=5)
    assert {g.name: g.channels for g in space.groups} == {"a": 5, "b": 7, "mix": 4}


class Stacked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.gate = nn.Conv2d(3, 6, 1), nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 1)
        self.head = nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        stacked = torch.stack([self.a(x), self.b(x)], dim=1)
        weights = torch.softmax(torch.stack([self.gate(stacked.sum(1)).mean((2, 3)), stacked[:, 0].amax((2, 3))], 1), 1)
        return self.head((stacked * weights[..., None, None]).sum(dim=1))


def test_selective_kernels_stack_and_softmax_over_branches() -> None:
    space = check(Stacked(), (torch.randn(2, 3, 5, 5),))
    assert set(group_of(space, "a").layers) == {"a", "b", "gate"}


class SpatialConcat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 6, 1), nn.Conv2d(3, 6, 1), nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cat([self.a(x), self.b(x)], dim=2))


def test_concat_over_space_ties_channels() -> None:
    space = check(SpatialConcat(), (torch.randn(2, 3, 5, 5),))
    assert set(group_of(space, "a").layers) == {"a", "b"}


class Appended(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 8, 1), nn.Linear(8 * 25 + 2, 3)

    def forward(self, x: Tensor, meta: Tensor) -> Tensor:
        return self.fc(torch.cat([self.b(self.a(x)).flatten(1), meta], 1))


def test_features_beside_a_second_input() -> None:
    space = check(Appended(), (torch.randn(2, 3, 5, 5), torch.randn(2, 2)))
    assert {g.name for g in space.groups} == {"a", "b"}


class AddedConcat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(3, 8, 1)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cat([self.a(x), self.b(x)], 1) + self.c(x))


def test_a_sum_over_a_concat_makes_groups_of_parts_of_a_layer() -> None:
    space = check(AddedConcat(), (torch.randn(2, 3, 5, 5),), seeds=5)
    assert {g.name: g.layers for g in space.groups} == {"a": ("a", "c"), "b": ("b", "c")}


def test_input_concatenated_then_normalised_freezes_nothing_else() -> None:
    class WithInput(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.group, self.head = nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 8), nn.Conv2d(8, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.group(torch.cat([self.a(x), x], 1)))

    space = check(WithInput(), (torch.randn(2, 4, 5, 5),))
    assert "tied into one unit" in frozen_reason(space, "a") or "fixed size" in frozen_reason(space, "a")


def test_groups_across_the_seam_of_a_concat_are_told_as_units_that_differ() -> None:
    class Straddling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 6, 1), nn.Conv2d(3, 2, 1)
            self.mix, self.head = nn.Conv2d(8, 8, 1, groups=2), nn.Conv2d(8, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.mix(torch.cat([self.a(x), self.b(x)], 1)))

    space = check(Straddling(), (torch.randn(2, 3, 5, 5),))
    assert not space.groups
    assert "tied into 2 units that differ" in frozen_reason(space, "a")
