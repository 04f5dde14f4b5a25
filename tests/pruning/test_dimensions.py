"""One, two and three dimensions; pooling, interpolation, spatial padding."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.pruning.oracle import check


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_convolutions_norms_and_pools_in_every_dimension(dims: int) -> None:
    conv, up = getattr(nn, f"Conv{dims}d"), getattr(nn, f"ConvTranspose{dims}d")
    norm, instance = getattr(nn, f"BatchNorm{dims}d"), getattr(nn, f"InstanceNorm{dims}d")
    model = nn.Sequential(
        conv(2, 6, 3, padding="same"), norm(6), getattr(nn, f"MaxPool{dims}d")(2), conv(6, 6, 3, padding=1, groups=6),
        instance(6, affine=True), getattr(nn, f"Dropout{dims}d" if dims > 1 else "Dropout")(), up(6, 5, 2, 2),
        getattr(nn, f"AvgPool{dims}d")(2), conv(5, 4, 1), getattr(nn, f"AdaptiveAvgPool{dims}d")(2), nn.Flatten(),
        nn.Linear(4 * 2**dims, 2),
    )  # fmt: skip
    space = check(model, (torch.randn(2, 2, *[4] * dims),))
    assert [group.channels for group in space.groups] == [6, 5, 4]


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: functional.interpolate(x, scale_factor=2, mode="nearest"),
        lambda x: functional.interpolate(x, size=(7, 5), mode="bilinear", align_corners=True),
        lambda x: functional.interpolate(x, scale_factor=0.5, mode="bicubic"),
        lambda x: functional.interpolate(x, size=(3, 3), mode="area"),
        lambda x: functional.pad(x, (1, 1, 2, 0)),
        lambda x: functional.pad(x, (1, 1, 1, 1), mode="reflect"),
        lambda x: functional.pad(x, (1, 1, 1, 1), mode="circular"),
        lambda x: functional.adaptive_max_pool2d(x, 2),
        lambda x: functional.lp_pool2d(x, 2, 2),
        lambda x: functional.unfold(x, 2).unflatten(1, (-1, 4))[..., :4],
        lambda x: functional.grid_sample(x, torch.linspace(-1, 1, 36).double().view(2, 3, 3, 2), align_corners=False),
        lambda x: x[..., 1:, :-1],
        lambda x: x.roll(1, 2).flip(3),
        lambda x: (x - x.mean((2, 3), keepdim=True)) / x.std((2, 3), keepdim=True),
        lambda x: torch.clamp(x, -1, 1) ** 2 + x.abs().sqrt() * x.sign(),
        lambda x: functional.max_pool2d(x, 3, 2, 1, ceil_mode=True),
    ],
)  # fmt: skip
def test_operations_over_space_keep_channels_apart(operation: object) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 7, 1), nn.Conv2d(7, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(operation(self.a(x)))

    space = check(Net(), (torch.randn(2, 3, 6, 6),))
    assert [(g.channels, g.step) for g in space.groups] == [(7, 1)]
