"""Batches as an adapter takes them: normalised floats of the network's own precision that go through the network."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from eyas.data.image_tensors import as_images, check_images
from eyas.errors import BadInputError, DataError, ParameterError, one_line

_LOG = logging.getLogger(__name__)
_DOES_NOT_FIT = ("to have", "shapes cannot be multiplied", "must match", "smaller than", "too small")
"""What torch says of images that do not go through a network."""
_RAW = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError)
"""What a network's code raises."""
FARTHEST = 30.0
"""No image that was normalised by the mean and deviation of a training is all above 0 and as far from it as this."""


def as_batch(name: str, images: Any, fewest: int) -> Tensor:
    """The argument ``name`` as a batch of at least ``fewest`` normalised images.

    Raises:
        DataError: it is something else, or holds values that are not finite.
    """
    images_NCHW = as_images(name, images)
    if images_NCHW.ndim != 4:
        msg = f"`{name}` have shape {tuple(images_NCHW.shape)}: give (N, C, H, W)"
        raise DataError(msg)
    if len(images_NCHW) < fewest:
        msg = f"`{name}` holds {len(images_NCHW)} images at once: this adapter needs at least {fewest}"
        raise DataError(msg)
    check_images(name, images_NCHW)
    return images_NCHW


def as_network(model: nn.Module, images: Tensor, name: str) -> Tensor:
    """Images on the device of a network and in its precision, without the caller's gradients."""
    held = [tensor for tensor in model.state_dict().values() if tensor.is_floating_point()]
    images = images.detach().to(held[0].device, held[0].dtype)
    if not images.isfinite().all():
        msg = f"`{name}` holds values that {held[0].dtype}, the network's, does not hold: look at their normalisation"
        raise DataError(msg)
    return images.clone() if images.is_inference() else images  # which no gradient goes through


def warn_of_pixels(images: Tensor, name: str) -> None:
    """Say that images look like pixels from 0 to 255 which were not normalised; some networks are trained on these."""
    smallest, largest = float(images.min()), float(images.max())
    if smallest >= 0 and FARTHEST < largest <= 255:
        msg = "`%s` lie in %g to %g, as pixels do before they are normalised: give them as the training had them"
        _LOG.warning(msg, name, smallest, largest)


@contextmanager
def telling_shapes(images: Tensor, name: str) -> Iterator[None]:
    """Tell in a line that images do not go through a network."""
    try:
        yield
    except _RAW as error:
        if isinstance(error, (BadInputError, torch.OutOfMemoryError)):
            raise
        msg = f"`{name}` of the shape {tuple(images.shape)} do not go through the network: {one_line(error)}"
        raise DataError(msg) from error


@contextmanager
def telling_failures(images: Tensor, name: str, kind: str) -> Iterator[None]:
    """Tell in a line that an adapter cannot work with a network that answers images by itself."""
    try:
        yield
    except _RAW as error:
        if isinstance(error, (BadInputError, torch.OutOfMemoryError)):
            raise
        if isinstance(error, RuntimeError) and any(words in str(error) for words in _DOES_NOT_FIT):
            with telling_shapes(images, name):
                raise
        advice = "" if kind == "alpha_bn" else "; alpha_bn asks least of a network"
        what = f"{type(error).__name__}: {one_line(error)}"
        msg = f"`model` answered `{name}` by itself, but {kind} fails on it ({what}){advice}"
        raise ParameterError(msg) from error
