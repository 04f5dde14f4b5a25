"""``eyas.recalibrate``: batch-norm statistics from images, the same for scoring, fine-tuning and users."""

from collections.abc import Iterator, Mapping
from itertools import chain
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from eyas.calibration.base import Calibrator
from eyas.data.image_tensors import normalised_images
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
        model: a network, pruned or not; images are moved to its device and cast to its dtype batch by batch.
        images: normalised floats ``(N, C, H, W)``, a tensor or an array, at least two.
        calibrator: who estimates.
        num_images: at most so many images, drawn by ``seed``; all of them without it.
        batch_size: images per batch, at most; batches are as even as can be.
        seed: shuffles the images; None takes them in the order given.

    Returns:
        The number of images that were seen.

    Raises:
        DataError: there are fewer than two images, or they are no normalised floats, or not finite.
        ParameterError: there is no such calibrator, it does not say how many images it saw, or a number is too small.

    Example::

        small = eyas.prune(model, space, plan)
        eyas.recalibrate(small, calibration_images, num_images=1024)
    """
    images = normalised_images("images", images)
    if num_images is not None:
        _require_two("num_images", num_images)
    if seed is not None:
        images = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:num_images]]
    return recalibrate_in_order(model, images[:num_images], calibrator=calibrator, batch_size=batch_size)


def recalibrate_in_order(
    model: nn.Module,
    images: Tensor,
    *,
    calibrator: Calibrator | str | Mapping[str, Any] = "pooled",
    batch_size: int,
) -> int:
    """:func:`recalibrate` for whoever does it many times: images in their order, and they were checked before.

    Raises:
        DataError: there are fewer than two images.
        ParameterError: as in :func:`recalibrate`.
    """
    _require_two("batch_size", batch_size)
    if len(images) < 2:
        msg = f"`images` holds {len(images)}: statistics need at least two, better some hundred"
        raise DataError(msg)
    member = Calibrator.parse(calibrator)
    seen = member(model, (like_weights(model, batch) for batch in even_batches(images, batch_size)))
    if not isinstance(seen, Integral):
        msg = f"calibrator {member.kind} gives a {type(seen).__name__}: it must give the number of images that it saw"
        raise ParameterError(msg)
    return int(seen)


def _require_two(name: str, value: int) -> None:
    if value < 2:
        msg = f"`{name}` is {value}: a batch of one image has no variance; give at least 2"
        raise ParameterError(msg)


def like_weights(model: nn.Module, images: Tensor) -> Tensor:
    """Images on the device and in the dtype of a network's weights."""
    floats = (tensor for tensor in chain(model.parameters(), model.buffers()) if tensor.is_floating_point())
    weights = next(floats, images)
    return images.to(weights.device, weights.dtype)


def even_batches(images: Tensor, size: int) -> Iterator[Tensor]:
    """Batches of at most ``size`` images and as even as can be, so that none is too small for its statistics.

    Of an odd number in batches of 2 one batch has 3: a single image has no variance.
    """
    count = min(-(-len(images) // size), max(1, len(images) // 2))
    return iter(images.tensor_split(count)) if len(images) else iter(())
