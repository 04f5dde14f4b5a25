"""Labels that go with images."""

from typing import Any

import torch
from torch import Tensor

from eyas.data.image_tensors import as_labels
from eyas.errors import DataError


def whole_labels(labels: Any, images: int, classes: int, unknown: int | None = None) -> Tensor:
    """Labels as whole numbers on the CPU, one for each image.

    Args:
        labels: what was given, a tensor or what becomes one.
        images: how many there are to be.
        classes: how many the network has.
        unknown: what stands for an image without a label; None where each must have one.

    Raises:
        DataError: they are no whole numbers, not as many as the images, or no classes of the network.
    """
    labels_N = as_labels("labels", labels)
    if labels_N.is_floating_point() or labels_N.is_complex() or labels_N.dtype == torch.bool:
        msg = f"`labels` are {labels_N.dtype}: give whole numbers"
        raise DataError(msg)
    if labels_N.shape != (images,):
        msg = f"`labels` have shape {tuple(labels_N.shape)} for {images} images: give one each"
        raise DataError(msg)
    labels_N = labels_N.cpu().to(torch.int64)
    known = labels_N if unknown is None else labels_N[labels_N != unknown]
    if len(known) and not 0 <= int(known.min()) <= int(known.max()) < classes:
        msg = (
            f"`labels` lie in {int(known.min())} to {int(known.max())}: the network has the classes 0 to {classes - 1}"
        )
        raise DataError(msg)
    return labels_N
