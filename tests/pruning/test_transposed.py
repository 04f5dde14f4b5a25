"""Transposed convolutions: weight dimensions swap roles, groups go whole."""

import pytest
import torch
from torch import nn

import eyas
from tests.pruning.oracle import check, group_of


def test_transposed_passes_on_channels() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ConvTranspose2d(8, 6, 2, 2), nn.BatchNorm2d(6), nn.ReLU(), nn.ConvTranspose2d(6, 2, 3)
    )
    space = check(model, (torch.randn(2, 3, 6, 6),))
    assert [(g.name, g.channels) for g in space.groups] == [("0", 8), ("1", 6)]
    small = eyas.prune(model, space, space.plan({"0": 5, "1": 4}))
    assert (small[1].in_channels, small[1].out_channels, tuple(small[1].weight.shape[:2])) == (5, 4, (5, 4))


@pytest.mark.parametrize(("groups", "out"), [(2, 4), (8, 8), (8, 16), (4, 12)])
def test_grouped_transposed_loses_whole_groups(groups: int, out: int) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ConvTranspose2d(8, out, 2, 2, groups=groups), nn.Conv2d(out, 2, 1))
    space = check(model, (torch.randn(2, 3, 4, 4),))
    assert group_of(space, "0").step == 8 // groups
    small = eyas.prune(model, space, space.plan({"0": 8 // groups}))
    assert (small[1].groups, small[1].out_channels) == (1, out // groups)
