"""``eyas.recalibrate``: batch-norm statistics from images, the same for scoring, fine-tuning and users."""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from eyas.calibration.base import Calibrator
from eyas.errors import DataError, ParameterError


def recalibrate(
    model: nn.Module,
    images: Tensor,
    *,
    calibrator: Calibrator | str | Mapping[str, Any] = "pooled",
    num_images: int | None = None,
    batch_size: int = 128,
    seed: int | None = 0,
) -> int:
    """Re-estimate batch-norm statistics in place, as :func:`eyas.score` does for a candidate in a held-out rung.

    Nothing but batch-norm buffers changes, and after an error they do not either.

    Args:
        model: a network, pruned or not; images are moved to its device batch by batch.
        images: normalised floats ``(N, C, H, W)``, at least two.
        calibrator: who estimates.
        num_images: at most so many images, drawn by ``seed``; all of them without it.
        batch_size: images per batch, at most; batches are as even as can be.
        seed: shuffles the images; None takes them in the order given.

    Returns:
        The number of images that were seen.

    Raises:
        DataError: there are fewer than two images, or they are no normalised floats.
        ParameterError: there is no such calibrator, or a number is too small.

    Example::

        small = eyas.prune(model, space, plan)
        eyas.recalibrate(small, calibration_images, num_images=1024)
    """
    _check(images, num_images, batch_size)
    if seed is not None:
        images = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:num_images]]
    device = next((tensor.device for tensor in chain(model.parameters(), model.buffers())), images.device)
    batches = even_batches(images[:num_images], batch_size)
    return Calibrator.parse(calibrator)(model, (batch.to(device) for batch in batches))


def _check(images: Tensor, num_images: int | None, batch_size: int) -> None:
    for name, value in (("num_images", num_images), ("batch_size", batch_size)):
        if value is not None and value < 2:
            msg = f"`{name}` is {value}: a batch of one image has no variance; give at least 2"
            raise ParameterError(msg)
    if not images.is_floating_point():
        msg = f"`images` are {images.dtype}: give normalised floats, as the network was trained on"
        raise DataError(msg)
    if len(images) < 2:
        msg = f"`images` holds {len(images)}: statistics need at least two, better some hundred"
        raise DataError(msg)


def even_batches(images: Tensor, size: int) -> Iterator[Tensor]:
    """Batches of at most ``size`` images and as even as can be, so that none is too small for its statistics.

    Of an odd number in batches of 2 one batch has 3: a single image has no variance.
    """
    count = min(-(-len(images) // size), max(1, len(images) // 2))
    return iter(images.tensor_split(count)) if len(images) else iter(())
