"""Images and labels as one tensor each: what every function that takes them asks of them."""

from typing import TYPE_CHECKING, Any

from eyas.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

_ONE_TENSOR = "give one tensor (N, C, H, W)"
_ONE_INTEGER = "give one integer each"


def as_images(name: str, images: Any) -> "Tensor":
    """The argument ``name`` as one tensor of images.

    Raises:
        DataError: it is something else.
    """
    of_several = "a list of images as torch.stack(images), a loader as torch.cat([batch for batch, _ in loader])"
    tensor = _as_tensor(name, images, f"{_ONE_TENSOR}; {of_several}")
    if tensor.ndim < 2:
        msg = f"`{name}` have shape {tuple(tensor.shape)}: {_ONE_TENSOR}"
        raise DataError(msg)
    return tensor


def as_labels(name: str, labels: Any) -> "Tensor":
    """The argument ``name`` as one tensor of labels, one (or one map) per image.

    Raises:
        DataError: it is something else.
    """
    tensor = _as_tensor(name, labels, _ONE_INTEGER)
    if tensor.ndim == 0:
        msg = f"`{name}` are the single value {tensor.item()}: {_ONE_INTEGER}"
        raise DataError(msg)
    return tensor


def _as_tensor(name: str, values: Any, advice: str) -> "Tensor":
    import torch

    try:
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        msg = f"`{name}` is a {type(values).__name__} that is no tensor ({error}): {advice}"
        raise DataError(msg) from error


def normalised_images(name: str, images: Any) -> "Tensor":
    """The argument ``name`` as one tensor of normalised images.

    Raises:
        DataError: it is something else, or holds values that are not finite.
    """
    tensor = as_images(name, images)
    check_images(name, tensor)
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
        msg = f"`{name}` hold values that are not finite: look at how they are normalised, or leave damaged ones out"
        raise DataError(msg)
