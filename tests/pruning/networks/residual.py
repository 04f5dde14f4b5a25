"""Residual networks: ResNet, RegNet, CIFAR ResNet, RepVGG, ConvNeXt."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.pruning.networks.blocks import SqueezeExcite, conv_bn


class Bottleneck(nn.Module):
    def __init__(self, i: int, mid: int, o: int, s: int = 1, g: int = 1, se: int = 0) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, mid, 1, bias=False), nn.BatchNorm2d(mid)
        self.conv2, self.bn2 = nn.Conv2d(mid, mid, 3, s, 1, groups=g, bias=False), nn.BatchNorm2d(mid)
        self.se = SqueezeExcite(mid, se) if se else nn.Identity()
        self.conv3, self.bn3 = nn.Conv2d(mid, o, 1, bias=False), nn.BatchNorm2d(o)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = conv_bn(i, o, 1, s, act=None) if s > 1 or i != o else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(self.se(self.relu(self.bn2(self.conv2(y))))))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


class ResNet50(nn.Module):
    """He et al. 2015; with ``groups=32, width=4`` ResNeXt-50 (Xie et al. 2017)."""

    def __init__(self, groups: int = 1, width: int = 64, blocks: tuple[int, ...] = (3, 4, 6, 3)) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        i, stages = 64, []
        for stage, count in enumerate(blocks):
            mid, o = groups * width * 2**stage, 256 * 2**stage
            for b in range(count):
                stages.append(Bottleneck(i, mid, o, 2 if b == 0 and stage else 1, groups))
                i = o
        self.layers, self.fc = nn.Sequential(*stages), nn.Linear(i, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.fc(torch.flatten(functional.adaptive_avg_pool2d(self.layers(x), 1), 1))


def regnet_y_400mf() -> nn.Module:
    """Radosavovic et al. 2020: widths 48, 104, 208, 440, depths 1, 3, 6, 6, group width 8, squeeze-excite."""
    i, layers = 32, [conv_bn(3, 32, 3, 2)]
    for width, depth in ((48, 1), (104, 3), (208, 6), (440, 6)):
        for b in range(depth):
            layers.append(Bottleneck(i, width, width, 2 if b == 0 else 1, width // 8, se=round(i / 4)))
            i = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(440, 1000))


class ChannelPad(nn.Module):
    zero_channels = ("before", "after")

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.before, self.after = before, after

    def forward(self, x: Tensor) -> Tensor:
        return functional.pad(x, (0, 0, 0, 0, self.before, self.after))


class PaddedBlock(nn.Module):
    def __init__(self, i: int, o: int, s: int, pad: bool = True) -> None:
        super().__init__()
        self.a, self.b = conv_bn(i, o, 3, s), conv_bn(o, o, 3, act=None)
        self.pad = ChannelPad((o - i) // 2, (o - i) // 2) if pad else None
        self.s, self.grow = s, (o - i) // 2

    def forward(self, x: Tensor) -> Tensor:
        y = self.b(self.a(x))
        if self.s > 1:
            x = x[:, :, ::2, ::2]
            x = self.pad(x) if self.pad else functional.pad(x, (0, 0, 0, 0, self.grow, self.grow))
        return functional.relu(x + y)


class CifarResNet(nn.Module):
    """He et al. 2015, section 4.2, with option-A shortcuts: ``depth = 6 n + 2``."""

    def __init__(self, n: int = 9, pad: bool = True) -> None:
        super().__init__()
        layers, i = [conv_bn(3, 16, 3)], 16
        for o in (16, 32, 64):
            for _ in range(n):
                layers.append(PaddedBlock(i, o, 2 if o != i else 1, pad))
                i = o
        self.layers, self.fc = nn.Sequential(*layers), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layers(x).mean((2, 3)))


class RepBlock(nn.Module):
    def __init__(self, i: int, o: int, s: int) -> None:
        super().__init__()
        self.three, self.one = conv_bn(i, o, 3, s, act=None), conv_bn(i, o, 1, s, act=None)
        self.identity = nn.BatchNorm2d(i) if i == o and s == 1 else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.three(x) + self.one(x)
        return functional.relu(y if self.identity is None else y + self.identity(x))


def repvgg_a0() -> nn.Module:
    """Ding et al. 2021, table 2, in the form it is trained in."""
    layers, i = [RepBlock(3, 48, 2)], 48
    for o, n in ((48, 2), (96, 4), (192, 14), (1280, 1)):
        for b in range(n):
            layers.append(RepBlock(i, o, 2 if b == 0 else 1))
            i = o
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000))


class ConvNeXtBlock(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.dwconv, self.norm = nn.Conv2d(c, c, 7, padding=3, groups=c), nn.LayerNorm(c)
        self.pw1, self.pw2 = nn.Linear(c, 4 * c), nn.Linear(4 * c, c)
        self.gamma = nn.Parameter(torch.full((c,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        y = self.gamma * self.pw2(functional.gelu(self.pw1(y)))
        return x + y.permute(0, 3, 1, 2)


class ChannelsFirstNorm(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(c)), nn.Parameter(torch.zeros(c))

    def forward(self, x: Tensor) -> Tensor:
        u = x.mean(1, keepdim=True)
        s = (x - u).pow(2).mean(1, keepdim=True)
        return self.weight[:, None, None] * ((x - u) / torch.sqrt(s + 1e-6)) + self.bias[:, None, None]


def convnext_tiny() -> nn.Module:
    """Liu et al. 2022: depths 3, 3, 9, 3, widths 96 to 768."""
    layers: list[nn.Module] = [nn.Conv2d(3, 96, 4, 4), ChannelsFirstNorm(96)]
    for index, (c, n) in enumerate(((96, 3), (192, 3), (384, 9), (768, 3))):
        if index:
            layers += [ChannelsFirstNorm(c // 2), nn.Conv2d(c // 2, c, 2, 2)]
        layers += [ConvNeXtBlock(c) for _ in range(n)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(768), nn.Linear(768, 1000))
