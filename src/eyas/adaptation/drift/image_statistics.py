"""What images look like, in a few numbers each: what a dirty lens, another camera or a stronger compression changes.

Shapes: N images, C channels, H height, W width. Images may be normalised; numbers are then in units of that. Blocks of
a compression are seen only where images reach the network in the size they were stored in.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d

COARSE = 4
"""Pixels that are averaged before contrast and colour are measured, so that neither noise nor blur counts."""
JPEG_BLOCK = 8
"""Edge of a block of JPEG."""
_TINY = 1e-6


def brightness(images_NCHW: Tensor) -> Tensor:
    """Mean over pixels and channels, ``(N,)``."""
    return images_NCHW.mean((1, 2, 3))


def contrast(images_NCHW: Tensor) -> Tensor:
    """Standard deviation of the coarse grey image, ``(N,)``."""
    return _coarse(_grey(images_NCHW)).flatten(1).std(1, correction=0)


def saturation(images_NCHW: Tensor) -> Tensor:
    """How far the channels are apart, mean over the coarse image, ``(N,)``; 0 of grey images."""
    return _coarse(images_NCHW).std(1, correction=0).mean((1, 2))


def tint(images_NCHW: Tensor) -> Tensor:
    """First channel less third, ``(N,)``: positive is warm in RGB; 0 of images with fewer channels."""
    if images_NCHW.shape[1] < 3:
        return images_NCHW.new_zeros(len(images_NCHW))
    return (images_NCHW[:, 0] - images_NCHW[:, 2]).mean((1, 2))


def sharpness(images_NCHW: Tensor) -> Tensor:
    """Differences of neighbours over those of pixels two apart, ``(N,)``: 1/2 where all is smooth, 1 in pure noise.

    A share of high frequencies that neither brightness nor contrast changes.
    """
    grey = _grey(images_NCHW)
    near, far = (_differences(grey, step) for step in (1, 2))
    return near / (far + _TINY)


def noise(images_NCHW: Tensor) -> Tensor:
    """Median response to a filter that planes and edges leave at zero (Immerkaer 1996), ``(N,)``."""
    filter_1133 = images_NCHW.new_tensor([[1, -2, 1], [-2, 4, -2], [1, -2, 1]])[None, None] / 6
    return conv2d(_grey(images_NCHW), filter_1133).abs().flatten(1).median(1).values


def blockiness(images_NCHW: Tensor) -> Tensor:
    """Logarithm of the steps across the borders of 8 x 8 blocks over all other steps, ``(N,)``; 0 of smaller images."""
    grey = _grey(images_NCHW)
    at_borders, elsewhere = [], []
    for lines in (grey, grey.transpose(2, 3)):
        step = (lines[..., 1:] - lines[..., :-1]).abs().mean((1, 2))  # (N, W - 1)
        border = torch.arange(1, step.shape[1] + 1, device=step.device) % JPEG_BLOCK == 0
        at_borders.append(step[:, border])
        elsewhere.append(step[:, ~border])
    if not sum(steps.shape[1] for steps in at_borders):
        return grey.new_zeros(len(grey))
    across, within = (torch.cat(steps, 1).mean(1) + _TINY for steps in (at_borders, elsewhere))
    return (across / within).log()


IMAGE_STATISTICS: dict[str, Callable[[Tensor], Tensor]] = {
    member.__name__: member for member in (brightness, contrast, saturation, tint, sharpness, noise, blockiness)
}
"""Each takes images ``(N, C, H, W)`` and gives one number per image."""


def _grey(images_NCHW: Tensor) -> Tensor:
    return images_NCHW.mean(1, keepdim=True)


def _coarse(images_NCHW: Tensor) -> Tensor:
    edge = min(COARSE, *images_NCHW.shape[2:])
    return avg_pool2d(images_NCHW, edge)


def _differences(grey_N1HW: Tensor, step: int) -> Tensor:
    """Mean absolute differences along rows and along columns, added, ``(N,)``."""
    rows = grey_N1HW[:, :, step:] - grey_N1HW[:, :, :-step]
    columns = grey_N1HW[..., step:] - grey_N1HW[..., :-step]
    return rows.abs().mean((1, 2, 3)) + columns.abs().mean((1, 2, 3))
