"""The images, labels and outputs of a race, as a caller gave them: checked and prepared.

Shapes: N images, K classes.
"""

from typing import Any

import torch
from torch import Tensor, nn

from eyas.errors import DataError
from eyas.scoring.image_sets import ImageSets, prepare_images

_SHOWN = 5


def image_sets_from(model: nn.Module, calibration: Any, scoring: Any, labels: Any, *, seed: int) -> ImageSets:
    """Images and labels, checked, in the dtype of the weights, shuffled by ``seed``.

    Args:
        model: the dense network.
        calibration: images, or None for none.
        scoring: images.
        labels: of the scoring images, or None.
        seed: shuffles.

    Raises:
        DataError: they cannot be used.
    """
    scoring = as_images("scoring_images", scoring)
    calibration = scoring[:0] if calibration is None else as_images("calibration_images", calibration)
    if len(calibration) and calibration.shape[1:] != scoring.shape[1:]:
        shapes = [tuple(images.shape[1:]) for images in (calibration, scoring)]
        msg = f"`calibration_images` have shape {shapes[0]}, `scoring_images` {shapes[1]}: prepare both alike"
        raise DataError(msg)
    calibration, scoring = (cast_like_weights(model, images) for images in (calibration, scoring))
    return prepare_images(calibration, scoring, None if labels is None else _as_labels(labels), seed=seed)


def as_images(name: str, images: Any) -> Tensor:
    """The argument ``name`` as one tensor of images.

    Raises:
        DataError: it is something else.
    """
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


def cast_like_weights(model: nn.Module, images: Tensor) -> Tensor:
    """Floats in the dtype of the weights; others as they are."""
    floating = (tensor.dtype for tensor in model.parameters() if tensor.is_floating_point())
    return images.to(next(floating, torch.float32)) if images.is_floating_point() else images


def _as_labels(labels: Any) -> Tensor:
    try:
        tensor = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        msg = f"`scoring_labels` cannot be made a tensor ({error}): give one integer each"
        raise DataError(msg) from error
    if tensor.ndim == 0:
        msg = f"`scoring_labels` are the single value {tensor.item()}: give one integer each"
        raise DataError(msg)
    return tensor


def check_outputs(outputs: Tensor, images: int, labels: Tensor | None) -> None:
    """What the dense network says to ``images`` images can be held against the labels.

    Args:
        outputs: its judged output on them, which must be ``(images, K)`` or, per pixel, ``(images, K, ...)``.
        images: how many.
        labels: of all scoring images, ``(N,)`` or ``(N, ...)``.

    Raises:
        DataError: shapes do not fit, or a label is none of the K classes.
    """
    if outputs.ndim < 2 or len(outputs) != images:
        msg = (
            f"the network has outputs of shape {tuple(outputs.shape)} for {images} images: scoring needs (N, K), one "
            "number per class, or (N, K, ...) per pixel"
        )
        raise DataError(msg)
    if labels is None:
        return
    classes, expected = outputs.shape[1], (len(labels), *outputs.shape[2:])
    if tuple(labels.shape) != expected:
        msg = (
            f"`scoring_labels` have shape {tuple(labels.shape)}, the network's answers ask for {expected}: give class "
            "numbers; labels.argmax(1) of one-hot labels, labels.squeeze(1) of a column"
        )
        raise DataError(msg)
    wrong = torch.unique(labels[(labels < 0) | (labels >= classes)])
    if len(wrong):
        shown = ", ".join(map(str, wrong[:_SHOWN].tolist())) + (", ..." if len(wrong) > _SHOWN else "")
        msg = f"`scoring_labels` hold {shown} where the network has {classes} classes: {_remedy(outputs)}"
        raise DataError(msg)


def _remedy(outputs: Tensor) -> str:
    """What to do about labels that are no class."""
    classes = outputs.shape[1]
    if classes == 1:
        return "no label can be right or wrong there; score without labels, by dense_mse"
    without = "score by dense_kl, which needs no labels, where pixels have none"
    return f"give integers from 0 to {classes - 1}; " + (
        without if outputs.ndim > 2 else "leave out images that have no label"
    )
