"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381), with torchvision's state-dict names."""

from typing import Any

import torch
from torch import Tensor, nn

from models.initialise import initialise
from models.layers import make_divisible
from models.names import architecture

# (expansion, output channels at width 1, blocks, stride of the first) of each stage: table 2 of the paper
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """Widen by 1 x 1, depthwise 3 x 3, narrow by a linear 1 x 1; a shortcut where shapes agree."""

    def __init__(self, in_channels: int, channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(_convolution(in_channels, hidden, kernel=1))
        layers += [
            _convolution(hidden, hidden, stride=stride, groups=hidden),
            nn.Conv2d(hidden, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        ]
        self.conv = nn.Sequential(*layers)
        self.has_shortcut = stride == 1 and in_channels == channels

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Block output, ``(N, channels, H / stride, W / stride)``."""
        y_NCHW: Tensor = self.conv(x_NCHW)
        return x_NCHW + y_NCHW if self.has_shortcut else y_NCHW


class MobileNetV2(nn.Module):
    """A strided stem, seventeen inverted residuals, a 1 x 1 convolution, a linear layer."""

    def __init__(
        self,
        num_classes: int,
        *,
        width_mult: float = 1.0,
        in_channels: int = 3,
        dropout: float = 0.2,
        small_images: bool = False,
    ) -> None:
        super().__init__()
        channels = make_divisible(32 * width_mult)
        layers: list[nn.Module] = [_convolution(in_channels, channels, stride=1 if small_images else 2)]
        for index, (expansion, planes, blocks, stage_stride) in enumerate(_STAGES):
            out_channels = make_divisible(planes * width_mult)
            first_stride = 1 if small_images and index == 1 else stage_stride
            for block in range(blocks):
                stride = first_stride if block == 0 else 1
                layers.append(InvertedResidual(channels, out_channels, stride, expansion))
                channels = out_channels
        last = make_divisible(1280 * max(1.0, width_mult))
        layers.append(_convolution(channels, last, kernel=1))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))
        initialise(self)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Logits, ``(N, num_classes)``; height and width of 32 at least."""
        x_NC = torch.flatten(self.avgpool(self.features(x_NCHW)), 1)
        logits_NK: Tensor = self.classifier(x_NC)
        return logits_NK


def _convolution(
    in_channels: int, channels: int, *, kernel: int = 3, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, kernel, stride, padding=(kernel - 1) // 2, groups=groups, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU6(inplace=True),
    )


@architecture
def mobilenet_v2(num_classes: int, **arguments: Any) -> nn.Module:
    """For 224 x 224; arguments: width_mult=1.0, in_channels=3, dropout=0.2, small_images=False."""
    return MobileNetV2(num_classes, **arguments)


@architecture
def mobilenet_v2_cifar(num_classes: int, **arguments: Any) -> nn.Module:
    """For 32 x 32: no stride in the stem and the second stage."""
    return MobileNetV2(num_classes, **{"small_images": True, **arguments})
