"""Normalisations: per channel they follow, per group they lose groups, across channels they freeze."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import eyas
from tests.pruning.oracle import check, frozen_reason, group_of


def around(norm: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 12, 1), norm, nn.ReLU(), nn.Conv2d(12, 2, 1))


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(12), nn.BatchNorm2d(12, affine=False), nn.BatchNorm2d(12, track_running_stats=False),
        nn.InstanceNorm2d(12), nn.InstanceNorm2d(12, affine=True, track_running_stats=True), nn.PReLU(12), nn.PReLU(),
    ],
)  # fmt: skip
def test_per_channel(norm: nn.Module) -> None:
    space = check(around(norm), (torch.randn(2, 3, 6, 6),))
    assert group_of(space, "0").step == 1
    small = eyas.prune(space.model, space, space.plan({"0": 5}))
    assert getattr(small[1], "num_features", 5) == 5
    assert getattr(small[1], "num_parameters", 5) in (1, 5)


@pytest.mark.parametrize("groups", [2, 3, 6, 12])
def test_group_norm_loses_whole_groups(groups: int) -> None:
    space = check(around(nn.GroupNorm(groups, 12)), (torch.randn(2, 3, 6, 6),))
    group = group_of(space, "0")
    assert group.step == 12 // groups
    small = eyas.prune(space.model, space, space.plan({"0": 12 // groups}))
    assert (small[1].num_groups, small[1].num_channels) == (1, 12 // groups)


def test_one_normalisation_group_freezes() -> None:
    space = check(around(nn.GroupNorm(1, 12)), (torch.randn(2, 3, 6, 6),))
    assert "one unit" in frozen_reason(space, "0")


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 12, 1), nn.Conv2d(12, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(functional.group_norm(self.a(x), 4))


def test_a_literal_number_of_groups_freezes() -> None:
    space = check(Functional(), (torch.randn(2, 3, 6, 6),))
    assert not space.groups
    assert "hard-wired" in frozen_reason(space, "a")


class LayerNorms(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Conv2d(i, o, 1) for i, o in ((3, 8), (8, 6), (6, 5), (5, 2)))
        self.over_channels, self.over_space = nn.LayerNorm(6), nn.LayerNorm([4, 4])

    def forward(self, x: Tensor) -> Tensor:
        x = self.over_space(self.a(x))
        x = self.over_channels(self.b(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.d(self.c(x))


def test_layer_norm_over_channels_freezes_over_space_does_not() -> None:
    space = check(LayerNorms(), (torch.randn(2, 3, 4, 4),))
    assert {group.name for group in space.groups} == {"a", "c"}
    assert "normalised across channels by layer_norm" in frozen_reason(space, "b")


def test_weight_norm_freezes_what_its_norm_reads() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 6, 3)), nn.Conv2d(6, 2, 1)
    )
    space = check(model, (torch.randn(2, 3, 6, 6),), macs=False)
    assert "0" not in {group.name for group in space.groups}
