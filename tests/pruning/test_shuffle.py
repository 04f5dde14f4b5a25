"""Channel shuffle, pixel shuffle and other reorderings of channels."""

import pytest
import torch
from torch import Tensor, nn

from tests.pruning.networks import shuffle
from tests.pruning.oracle import check, frozen_reason, group_of


class Shuffled(nn.Module):
    def __init__(self, how: object, out: int = 12) -> None:
        super().__init__()
        self.a, self.how, self.b = nn.Conv2d(3, 12, 1), how, nn.Conv2d(out, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.how(self.a(x)))


@pytest.mark.parametrize("groups", [2, 3, 4])
def test_channel_shuffle_by_views_and_by_module(groups: int) -> None:
    for how in (lambda x: shuffle(x, groups), nn.ChannelShuffle(groups)):
        space = check(Shuffled(how), (torch.randn(2, 3, 4, 4),), seeds=4)
        assert (group_of(space, "a").channels, group_of(space, "a").step) == (12, groups)


def test_shuffle_with_a_literal_width_of_the_groups() -> None:
    def how(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x.reshape(n, -1, 4, h, w).transpose(1, 2).reshape(n, c, h, w)

    space = check(Shuffled(how), (torch.randn(2, 3, 4, 4),), seeds=4)
    assert group_of(space, "a").step == 4


def test_shuffle_with_all_sizes_literal_freezes() -> None:
    space = check(
        Shuffled(lambda x: x.view(2, 3, 4, 4, 4).transpose(1, 2).reshape(2, 12, 4, 4)), (torch.randn(2, 3, 4, 4),)
    )
    assert "hard-wired" in frozen_reason(space, "a")


def test_pixel_shuffle_and_back() -> None:
    space = check(Shuffled(nn.PixelShuffle(2), 3), (torch.randn(2, 3, 4, 4),))
    assert (group_of(space, "a").channels, group_of(space, "a").step) == (12, 4)
    space = check(Shuffled(nn.PixelUnshuffle(2), 48), (torch.randn(2, 3, 4, 4),))
    assert (group_of(space, "a").channels, group_of(space, "a").step) == (12, 1)


def test_space_to_depth_by_slices() -> None:
    def how(x: Tensor) -> Tensor:
        return torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1)

    space = check(Shuffled(how, 48), (torch.randn(2, 3, 4, 4),))
    assert group_of(space, "a").step == 1


def test_flip_keeps_channels_apart_and_roll_freezes() -> None:
    space = check(Shuffled(lambda x: x.flip(1)), (torch.randn(2, 3, 4, 4),))
    assert group_of(space, "a").step == 1
    space = check(Shuffled(lambda x: x.roll(2, 1)), (torch.randn(2, 3, 4, 4),))
    assert "roll" in frozen_reason(space, "a")


def test_a_grouped_convolution_and_a_shuffle_may_leave_one_unit() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 12, 1), nn.Conv2d(12, 12, 1, groups=3), nn.ChannelShuffle(3), nn.Conv2d(12, 12, 1, groups=3),
        nn.Conv2d(12, 5, 1), nn.Conv2d(5, 2, 1),
    )  # fmt: skip
    space = check(model, (torch.randn(2, 3, 4, 4),))
    assert "one unit" in frozen_reason(space, "0")
    assert group_of(space, "4").channels == 5
