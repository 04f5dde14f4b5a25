"""VGG-11/16 with batch-norm (Simonyan and Zisserman 2015, arXiv:1409.1556), torchvision's state-dict names.

``vgg16_bn`` is the network for 224 x 224 images; ``vgg16_bn_cifar`` has the same features for 32 x 32 and a
head of 512 instead of 4,096 units.
"""

from typing import Any

import torch
from torch import Tensor, nn

from models.initialise import initialise
from models.names import architecture

# Output channels as multiples of an eighth of the widest layer; "pool" halves height and width.
_LAYERS: dict[int, tuple[int | str, ...]] = {
    11: (1, "pool", 2, "pool", 4, 4, "pool", 8, 8, "pool", 8, 8, "pool"),
    16: (1, 1, "pool", 2, 2, "pool", 4, 4, 4, "pool", 8, 8, 8, "pool", 8, 8, 8, "pool"),
}


class VGG(nn.Module):
    """3 x 3 convolutions with batch-norm, then three linear layers."""

    def __init__(
        self,
        depth: int,
        num_classes: int,
        *,
        width: int = 64,
        in_channels: int = 3,
        pool: int = 7,
        hidden: int = 4096,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.features = _features(depth, width, in_channels)
        self.avgpool = nn.AdaptiveAvgPool2d(pool)
        self.classifier = nn.Sequential(
            nn.Linear(8 * width * pool * pool, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )
        initialise(self)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Logits, ``(N, num_classes)``; height and width of 32 at least."""
        x_NCHW = self.avgpool(self.features(x_NCHW))
        logits_NK: Tensor = self.classifier(torch.flatten(x_NCHW, 1))
        return logits_NK


def _features(depth: int, width: int, in_channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for step in _LAYERS[depth]:
        if isinstance(step, str):
            layers.append(nn.MaxPool2d(2, 2))
            continue
        channels = step * width
        layers += [
            nn.Conv2d(in_channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        ]
        in_channels = channels
    return nn.Sequential(*layers)


@architecture
def vgg11_bn(num_classes: int, **arguments: Any) -> nn.Module:
    """For 224 x 224; arguments: width=64, in_channels=3, pool=7, hidden=4096, dropout=0.5."""
    return VGG(11, num_classes, **arguments)


@architecture
def vgg16_bn(num_classes: int, **arguments: Any) -> nn.Module:
    """For 224 x 224; arguments: width=64, in_channels=3, pool=7, hidden=4096, dropout=0.5."""
    return VGG(16, num_classes, **arguments)


@architecture
def vgg11_bn_cifar(num_classes: int, **arguments: Any) -> nn.Module:
    """For 32 x 32; arguments: width=64, in_channels=3, pool=1, hidden=512, dropout=0.5."""
    return VGG(11, num_classes, **{"pool": 1, "hidden": 512, **arguments})


@architecture
def vgg16_bn_cifar(num_classes: int, **arguments: Any) -> nn.Module:
    """For 32 x 32; arguments: width=64, in_channels=3, pool=1, hidden=512, dropout=0.5."""
    return VGG(16, num_classes, **{"pool": 1, "hidden": 512, **arguments})
