"""ResNet-18/34/50 for ImageNet (He et al. 2016, arXiv:1512.03385), with torchvision's state-dict names.

The stride of a bottleneck sits on its 3 x 3 convolution, as in torchvision's checkpoints.
"""

from typing import Any

import torch
from torch import Tensor, nn

from models.initialise import initialise
from models.names import architecture


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions."""

    expansion = 1

    def __init__(self, in_channels: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, planes, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = _downsample(in_channels, planes, stride)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Block output, ``(N, planes, H / stride, W / stride)``."""
        identity_NCHW = x_NCHW if self.downsample is None else self.downsample(x_NCHW)
        y_NCHW = self.relu(self.bn1(self.conv1(x_NCHW)))
        y_NCHW = self.bn2(self.conv2(y_NCHW))
        out_NCHW: Tensor = self.relu(y_NCHW + identity_NCHW)
        return out_NCHW


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions; the last widens four times."""

    expansion = 4

    def __init__(self, in_channels: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _downsample(in_channels, 4 * planes, stride)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Block output, ``(N, 4 * planes, H / stride, W / stride)``."""
        identity_NCHW = x_NCHW if self.downsample is None else self.downsample(x_NCHW)
        y_NCHW = self.relu(self.bn1(self.conv1(x_NCHW)))
        y_NCHW = self.relu(self.bn2(self.conv2(y_NCHW)))
        y_NCHW = self.bn3(self.conv3(y_NCHW))
        out_NCHW: Tensor = self.relu(y_NCHW + identity_NCHW)
        return out_NCHW


class ResNet(nn.Module):
    """A 7 x 7 stem and a pooling (a 3 x 3 stem for small images), four stages, average pooling, a linear layer."""

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: tuple[int, int, int, int],
        num_classes: int,
        width: int = 64,
        in_channels: int = 3,
        *,
        small_images: bool = False,
    ) -> None:
        super().__init__()
        kernel, stride = (3, 1) if small_images else (7, 2)
        self.conv1 = nn.Conv2d(in_channels, width, kernel, stride, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if small_images else nn.MaxPool2d(3, 2, padding=1)
        self.layer1 = _stage(block, width, width, depths[0], 1)
        self.layer2 = _stage(block, width * block.expansion, 2 * width, depths[1], 2)
        self.layer3 = _stage(block, 2 * width * block.expansion, 4 * width, depths[2], 2)
        self.layer4 = _stage(block, 4 * width * block.expansion, 8 * width, depths[3], 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8 * width * block.expansion, num_classes)
        initialise(self)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Logits, ``(N, num_classes)``; height and width of 32 at least."""
        x_NCHW = self.maxpool(self.relu(self.bn1(self.conv1(x_NCHW))))
        x_NCHW = self.layer4(self.layer3(self.layer2(self.layer1(x_NCHW))))
        logits_NK: Tensor = self.fc(torch.flatten(self.avgpool(x_NCHW), 1))
        return logits_NK


def _downsample(in_channels: int, channels: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and in_channels == channels:
        return None
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 1, stride, bias=False),
        nn.BatchNorm2d(channels),
    )


def _stage(
    block: type[BasicBlock] | type[Bottleneck], in_channels: int, planes: int, depth: int, stride: int
) -> nn.Sequential:
    first = block(in_channels, planes, stride)
    return nn.Sequential(first, *(block(planes * block.expansion, planes, 1) for _ in range(depth - 1)))


@architecture
def resnet18(num_classes: int, **arguments: Any) -> nn.Module:
    """Basic blocks, 2-2-2-2; arguments: width=64, in_channels=3, small_images=False."""
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes, **arguments)


@architecture
def resnet34(num_classes: int, **arguments: Any) -> nn.Module:
    """Basic blocks, 3-4-6-3; arguments: width=64, in_channels=3, small_images=False."""
    return ResNet(BasicBlock, (3, 4, 6, 3), num_classes, **arguments)


@architecture
def resnet50(num_classes: int, **arguments: Any) -> nn.Module:
    """Bottlenecks, 3-4-6-3; arguments: width=64, in_channels=3, small_images=False."""
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes, **arguments)
