"""Images and labels as one tensor each: what every function that takes them asks of them."""

from typing import TYPE_CHECKING, Any

from eyas.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor


def as_images(name: str, images: Any) -> "Tensor":
    """The argument ``name`` as one tensor of images.

    Raises:
        DataError: it is something else.
    """
    import torch

    try:
        tensor = torch.as_tensor(images)
    except (TypeError, ValueError, RuntimeError) as error:
        msg = (
            f"`{name}` is a {type(images).__name__} that is no tensor ({error}): give one tensor (N, C, H, W); a list "
            "of images as torch.stack(images), a loader as torch.cat([batch for batch, _ in loader])"
        )
        raise DataError(msg) from error
    if tensor.ndim < 2:
        msg = f"`{name}` have shape {tuple(tensor.shape)}: give one tensor (N, C, H, W)"
        raise DataError(msg)
    return tensor


def check_images(name: str, images: "Tensor") -> None:
    """The argument ``name`` holds normalised images.

    Raises:
        DataError: they are no floats, or not finite.
    """
    if not images.is_floating_point():
        msg = f"`{name}` are {images.dtype}: give normalised floats, as the network was trained on"
        raise DataError(msg)
    check_finite(name, images)


def check_finite(name: str, images: "Tensor") -> None:
    """The argument ``name`` holds numbers alone.

    Raises:
        DataError: a value is NaN or infinite.
    """
    if not images.isfinite().all():
        msg = f"`{name}` hold values that are not finite: look at the data and its normalisation"
        raise DataError(msg)


def normalised_images(name: str, images: Any) -> "Tensor":
    """The argument ``name`` as one tensor of normalised images.

    Raises:
        DataError: it is something else, or holds values that are not finite.
    """
    tensor = as_images(name, images)
    check_images(name, tensor)
    return tensor


def as_labels(name: str, labels: Any) -> "Tensor":
    """The argument ``name`` as one tensor of labels, one (or one map) per image.

    Raises:
        DataError: it is something else.
    """
    import torch

    try:
        tensor = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        msg = f"`{name}` cannot be made a tensor ({error}): give one integer each"
        raise DataError(msg) from error
    if tensor.ndim == 0:
        msg = f"`{name}` are the single value {tensor.item()}: give one integer each"
        raise DataError(msg)
    return tensor
