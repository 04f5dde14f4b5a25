"""Images of a batch mixed with each other, and what their labels then weigh.

N images, C channels, H x W pixels. All randomness comes from a generator on the CPU.
"""

import numpy as np
import torch
from torch import Tensor

from eyas.training.optimiser_step import WeightedLabels


def mixup(
    images_NCHW: Tensor, labels: Tensor, alpha: float, generator: torch.Generator
) -> tuple[Tensor, WeightedLabels]:
    r"""Every image blended with another one (Zhang et al. 2018, arXiv:1710.09412, section 2).

    .. math:: x = \lambda x_i + (1 - \lambda) x_j, \quad \lambda \sim Beta(\alpha, \alpha)

    One share for the batch; the labels of both images weigh as much as they do.
    """
    share, partner_N = _draw(len(images_NCHW), alpha, generator)
    mixed_NCHW = share * images_NCHW + (1 - share) * images_NCHW[partner_N.to(images_NCHW.device)]
    return mixed_NCHW, ((labels, share), (labels[partner_N.to(labels.device)], 1 - share))


def cutmix(
    images_NCHW: Tensor, labels: Tensor, alpha: float, generator: torch.Generator
) -> tuple[Tensor, WeightedLabels]:
    r"""A box of every image taken from another one (Yun et al. 2019, arXiv:1905.04899, section 3.1).

    The box covers :math:`1 - \lambda` of the area, :math:`\lambda \sim Beta(\alpha, \alpha)`, before the borders cut
    it; labels weigh by the pixels that are left. Where each pixel has a class, the box of the masks is taken as well.
    """
    share, partner_N = _draw(len(images_NCHW), alpha, generator)
    height, width = images_NCHW.shape[-2:]
    rows, columns = (_side(size, share, generator) for size in (height, width))
    mixed_NCHW = _pasted(images_NCHW, partner_N, rows, columns)
    if labels.ndim > 1:
        return mixed_NCHW, ((_pasted(labels, partner_N, rows, columns), 1.0),)
    taken = (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)
    return mixed_NCHW, ((labels, 1 - taken), (labels[partner_N.to(labels.device)], taken))


def _draw(images: int, alpha: float, generator: torch.Generator) -> tuple[float, Tensor]:
    """The share that an image keeps, and the partner of each."""
    seed = int(torch.randint(2**62, (), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha)), torch.randperm(images, generator=generator)


def _side(size: int, share: float, generator: torch.Generator) -> slice:
    """Where the box lies along an edge; its centre is anywhere."""
    half, centre = size * (1 - share) ** 0.5 / 2, int(torch.randint(size, (), generator=generator))
    return slice(max(0, round(centre - half)), min(size, round(centre + half)))


def _pasted(values: Tensor, partner_N: Tensor, rows: slice, columns: slice) -> Tensor:
    mixed = values.clone()
    mixed[..., rows, columns] = values[partner_N.to(values.device)][..., rows, columns]
    return mixed
