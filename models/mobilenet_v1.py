"""MobileNetV1 (Howard et al. 2017, arXiv:1704.04861): depthwise 3 x 3, then 1 x 1, thirteen times."""

from typing import Any

import torch
from torch import Tensor, nn

from models.initialise import initialise
from models.layers import make_divisible
from models.names import architecture

# (output channels at width 1, stride) of each separable convolution
_BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)


class MobileNetV1(nn.Module):
    """A strided stem, separable convolutions, average pooling, a linear layer."""

    def __init__(
        self,
        num_classes: int,
        *,
        width_mult: float = 1.0,
        in_channels: int = 3,
        dropout: float = 0.0,
        strides: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        stem_stride, *block_strides = strides or (2, *(stride for _, stride in _BLOCKS))
        channels = make_divisible(32 * width_mult)
        layers = [_convolution(in_channels, channels, stem_stride)]
        for (planes, _), stride in zip(_BLOCKS, block_strides, strict=True):
            out_channels = make_divisible(planes * width_mult)
            layers.append(_separable(channels, out_channels, stride))
            channels = out_channels
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, num_classes)
        initialise(self)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Logits, ``(N, num_classes)``; height and width of 32 at least."""
        x_NC = torch.flatten(self.avgpool(self.features(x_NCHW)), 1)
        logits_NK: Tensor = self.classifier(self.dropout(x_NC))
        return logits_NK


def _convolution(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


def _separable(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 3, stride, padding=1, groups=in_channels, bias=False),
        nn.BatchNorm2d(in_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(in_channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


@architecture
def mobilenet_v1(
    num_classes: int,
    *,
    width_mult: float = 1.0,
    in_channels: int = 3,
    dropout: float = 0.0,
    strides: tuple[int, ...] | None = None,
) -> nn.Module:
    """For 224 x 224; ``strides`` (the stem's, then thirteen) makes it fit smaller images."""
    return MobileNetV1(num_classes, width_mult=width_mult, in_channels=in_channels, dropout=dropout, strides=strides)


@architecture
def mobilenet_v1_cifar(num_classes: int, **arguments: Any) -> nn.Module:
    """For 32 x 32: strides 1 in the stem and in the first strided block, 4 x 4 at the end."""
    strides = (1, 1, 1, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
    return mobilenet_v1(num_classes, strides=strides, **arguments)
