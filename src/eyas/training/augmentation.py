"""Random changes of image batches, as tensor operations: no loader, no worker, one gather per batch.

N images, C channels, H x W pixels. All randomness comes from a generator on the CPU, so that a device changes
no draw.
"""

import torch
from torch import Tensor
from torch.nn import functional


def shift_and_flip(images_NCHW: Tensor, pixels: int, *, flip: bool, generator: torch.Generator) -> Tensor:
    """Every image moved by up to ``pixels`` each way (borders repeated) and, by a coin, mirrored.

    The "pad and crop" of He et al. 2016 (arXiv:1512.03385, section 4.2).
    """
    num, channels, height, width = images_NCHW.shape
    shifts_2N = torch.randint(0, 2 * pixels + 1, (2, num), generator=generator)
    rows_NH = shifts_2N[0, :, None] + torch.arange(height)
    columns_NW = shifts_2N[1, :, None] + torch.arange(width)
    if flip:
        mirrored_N = torch.rand(num, generator=generator) < 0.5
        columns_NW = torch.where(mirrored_N[:, None], columns_NW.flip(1), columns_NW)
    if pixels:
        images_NCHW = functional.pad(images_NCHW, (pixels,) * 4, mode="replicate")
    device = images_NCHW.device
    index_N = torch.arange(num, device=device).view(-1, 1, 1, 1)
    index_C = torch.arange(channels, device=device).view(1, -1, 1, 1)
    index_H = rows_NH.to(device)[:, None, :, None]
    index_W = columns_NW.to(device)[:, None, None, :]
    return images_NCHW[index_N, index_C, index_H, index_W]


def resized_crop_and_flip(
    images_NCHW: Tensor, smallest: float, *, flip: bool, generator: torch.Generator, mode: str = "bilinear"
) -> Tensor:
    """A random part of every image, scaled back to H x W (by ``mode``), and by a coin mirrored.

    The part covers ``smallest`` to 1 of the area, its aspect ratio is 3/4 to 4/3 (Szegedy et al. 2015,
    arXiv:1409.4842, section 6).
    """
    num = len(images_NCHW)
    area_N, ratio_N, x_N, y_N = torch.rand(4, num, generator=generator)
    area_N = smallest + (1 - smallest) * area_N
    ratio_N = torch.exp((2 * ratio_N - 1) * torch.log(torch.tensor(4 / 3)))
    wide_N = (area_N * ratio_N).sqrt().clamp(max=1)
    high_N = (area_N / ratio_N).sqrt().clamp(max=1)
    theta_N23 = torch.zeros(num, 2, 3)
    theta_N23[:, 0, 0], theta_N23[:, 0, 2] = wide_N, (2 * x_N - 1) * (1 - wide_N)
    theta_N23[:, 1, 1], theta_N23[:, 1, 2] = high_N, (2 * y_N - 1) * (1 - high_N)
    if flip:
        theta_N23[:, 0, 0] *= torch.where(torch.rand(num, generator=generator) < 0.5, -1.0, 1.0)
    theta_N23 = theta_N23.to(images_NCHW.device, images_NCHW.dtype)
    grid_NHW2 = functional.affine_grid(theta_N23, list(images_NCHW.shape), align_corners=False)
    return functional.grid_sample(images_NCHW, grid_NHW2, mode=mode, padding_mode="border", align_corners=False)
