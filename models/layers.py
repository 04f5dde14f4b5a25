"""Layers and rules that several architectures share."""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional


class ChannelPad(nn.Module):
    """Zero channels before and after, and every ``stride``-th pixel: a shortcut without parameters.

    Option A of He et al. 2016 (arXiv:1512.03385, section 3.3). Both counts are read at each call, so that who
    changes the channels on either side of the shortcut can set them.
    """

    zero_channels: ClassVar[tuple[str, str]] = ("before", "after")
    """Names of the attributes that hold how many zero channels are added."""

    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        super().__init__()
        self.before, self.after, self.stride = before, after, stride

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """``(N, before + C + after, H / stride, W / stride)``."""
        x_NCHW = x_NCHW[:, :, :: self.stride, :: self.stride]
        return functional.pad(x_NCHW, (0, 0, 0, 0, self.before, self.after))

    def extra_repr(self) -> str:
        """What ``print(model)`` shows."""
        return f"before={self.before}, after={self.after}, stride={self.stride}"


def make_divisible(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of ``divisor``, at least ``divisor`` and at least 90 % of ``channels``.

    The rounding rule of the MobileNet family (arXiv:1801.04381).
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * channels else rounded + divisor
