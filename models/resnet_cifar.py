"""ResNet-8/20/32/44/56/110 for small images (He et al. 2016, arXiv:1512.03385, section 4.2).

Depth is 6n + 2: a stem, three stages of n basic blocks at 1, 2 and 4 times the width, a linear layer.
Shortcuts have no parameters (option A: every second pixel, zero channels on both sides), and the state dict's
names are those of the public checkpoints for CIFAR-10.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.initialise import initialise
from models.layers import ChannelPad
from models.names import architecture


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions around a shortcut without parameters."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = _shortcut(in_channels, channels, stride)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Block output, ``(N, channels, H / stride, W / stride)``."""
        y_NCHW = functional.relu(self.bn1(self.conv1(x_NCHW)))
        y_NCHW = self.bn2(self.conv2(y_NCHW))
        return functional.relu(y_NCHW + self.shortcut(x_NCHW))


class CifarResNet(nn.Module):
    """A stem, three stages, average pooling, a linear layer."""

    def __init__(self, blocks: int, num_classes: int, width: int = 16, in_channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(width, width, blocks, 1)
        self.layer2 = _stage(width, 2 * width, blocks, 2)
        self.layer3 = _stage(2 * width, 4 * width, blocks, 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(4 * width, num_classes)
        initialise(self, linear_std=(4 * width) ** -0.5)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Logits, ``(N, num_classes)``; any height and width."""
        x_NCHW = functional.relu(self.bn1(self.conv1(x_NCHW)))
        x_NCHW = self.layer3(self.layer2(self.layer1(x_NCHW)))
        logits_NK: Tensor = self.linear(torch.flatten(self.avgpool(x_NCHW), 1))
        return logits_NK


def _shortcut(in_channels: int, channels: int, stride: int) -> nn.Module:
    if stride == 1 and in_channels == channels:
        return nn.Identity()
    missing = channels - in_channels
    return ChannelPad(missing // 2, missing - missing // 2, stride)


def _stage(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(in_channels, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1) for _ in range(blocks - 1)))


@architecture
def resnet8(num_classes: int, **arguments: Any) -> nn.Module:
    """One block per stage; arguments: width=16, in_channels=3."""
    return CifarResNet(1, num_classes, **arguments)


@architecture
def resnet20(num_classes: int, **arguments: Any) -> nn.Module:
    """Three blocks per stage; arguments: width=16, in_channels=3."""
    return CifarResNet(3, num_classes, **arguments)


@architecture
def resnet32(num_classes: int, **arguments: Any) -> nn.Module:
    """Five blocks per stage; arguments: width=16, in_channels=3."""
    return CifarResNet(5, num_classes, **arguments)


@architecture
def resnet44(num_classes: int, **arguments: Any) -> nn.Module:
    """Seven blocks per stage; arguments: width=16, in_channels=3."""
    return CifarResNet(7, num_classes, **arguments)


@architecture
def resnet56(num_classes: int, **arguments: Any) -> nn.Module:
    """Nine blocks per stage; arguments: width=16, in_channels=3."""
    return CifarResNet(9, num_classes, **arguments)


@architecture
def resnet110(num_classes: int, **arguments: Any) -> nn.Module:
    """Eighteen blocks per stage; arguments: width=16, in_channels=3."""
    return CifarResNet(18, num_classes, **arguments)
