"""A U-Net for small images (Ronneberger et al. 2015, arXiv:1505.04597): logits for every pixel.

As published but for batch-norm behind each convolution, padding, so that the answer is as large as the image, and a
width and a depth of choice.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from models.initialise import initialise
from models.names import architecture


class DoubleConv(nn.Sequential):
    """Twice a 3 x 3 convolution, batch-norm and ReLU."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )


class UNet(nn.Module):
    """``depth`` halvings of the image and as many doublings, each joined with what had its size on the way down."""

    def __init__(self, num_classes: int, width: int = 16, depth: int = 3, in_channels: int = 3) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth + 1)]
        self.stem = DoubleConv(in_channels, width)
        self.pool = nn.MaxPool2d(2)
        self.down = nn.ModuleList(DoubleConv(narrow, wide) for narrow, wide in pairwise(widths))
        pairs = list(pairwise(widths))[::-1]
        self.up = nn.ModuleList(nn.ConvTranspose2d(wide, narrow, 2, stride=2) for narrow, wide in pairs)
        self.join = nn.ModuleList(DoubleConv(2 * narrow, narrow) for narrow, _ in pairs)
        self.head = nn.Conv2d(width, num_classes, 1)
        initialise(self)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Logits, ``(N, num_classes, H, W)``; height and width are multiples of ``2 ** depth``."""
        x_NCHW = self.stem(x_NCHW)
        passed = []
        for block in self.down:
            passed.append(x_NCHW)
            x_NCHW = block(self.pool(x_NCHW))
        for up, join in zip(self.up, self.join, strict=True):
            x_NCHW = join(torch.cat([passed.pop(), up(x_NCHW)], 1))
        logits_NKHW: Tensor = self.head(x_NCHW)
        return logits_NKHW


@architecture
def unet(num_classes: int, **arguments: Any) -> nn.Module:
    """Logits per pixel; arguments: width=16, depth=3, in_channels=3."""
    return UNet(num_classes, **arguments)
