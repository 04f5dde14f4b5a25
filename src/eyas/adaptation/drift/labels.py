"""Labels that go with images."""

import torch
from torch import Tensor

from eyas.errors import DataError


def whole_labels(labels_N: Tensor, images: int, classes: int, unknown: int | None = None) -> Tensor:
    """Labels as whole numbers on the CPU, one for each image.

    Args:
        labels_N: what was given.
        images: how many there are to be.
        classes: how many the network has.
        unknown: what stands for an image without a label; None where each must have one.

    Raises:
        DataError: they are no whole numbers, not as many as the images, or no classes of the network.
    """
    if labels_N.is_floating_point() or labels_N.is_complex() or labels_N.dtype == torch.bool:
        msg = f"`labels` are {labels_N.dtype}: give whole numbers"
        raise DataError(msg)
    if labels_N.shape != (images,):
        msg = f"`labels` have shape {tuple(labels_N.shape)} for {images} images: give one each"
        raise DataError(msg)
    labels = labels_N.cpu().to(torch.int64)
    known = labels if unknown is None else labels[labels != unknown]
    if len(known) and not 0 <= int(known.min()) <= int(known.max()) < classes:
        msg = (
            f"`labels` lie in {int(known.min())} to {int(known.max())}: the network has the classes 0 to {classes - 1}"
        )
        raise DataError(msg)
    return labels
