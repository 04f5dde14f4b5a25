"""The images, labels and outputs of a race, as a caller gave them: checked and prepared.

Shapes: N images, K classes.
"""

from typing import Any

import torch
from torch import Tensor, nn

from eyas.data.image_tensors import as_images, as_labels
from eyas.data.tasks import IGNORED
from eyas.errors import DataError
from eyas.scoring.image_sets import ImageSets, prepare_images

_SHOWN = 5


def image_sets_from(
    model: nn.Module, calibration: Any, scoring: Any, labels: Any, *, seed: int, training: Any = None
) -> ImageSets:
    """Images and labels, checked, in the dtype of the weights, shuffled by ``seed``.

    Args:
        model: the dense network.
        calibration: images, or None for none.
        scoring: images.
        labels: of the scoring images, or None.
        seed: shuffles.
        training: images, alone or with their labels; None for none.

    Raises:
        DataError: they cannot be used.
    """
    scoring = as_images("scoring_images", scoring)
    calibration = scoring[:0] if calibration is None else as_images("calibration_images", calibration)
    check_alike("calibration_images", calibration, scoring)
    if training is not None:
        training = _as_training(model, training, scoring)
    calibration, scoring = (cast_like_weights(model, images) for images in (calibration, scoring))
    labels = None if labels is None else as_labels("scoring_labels", labels)
    return prepare_images(calibration, scoring, labels, seed=seed, training=training)


def _as_training(model: nn.Module, training: Any, scoring: Tensor) -> tuple[Tensor, Tensor | None]:
    """Images like the scoring images, in the dtype of the weights, and their labels."""
    if isinstance(training, Tensor):
        training = training, None
    if not isinstance(training, (tuple, list)) or len(training) != 2:
        msg = f"`training` is a {type(training).__name__}: give images, or (images, labels)"
        raise DataError(msg)
    images, labels = as_images("training", training[0]), training[1]
    check_alike("training", images, scoring)
    return cast_like_weights(model, images), None if labels is None else as_labels("training", labels)


def check_alike(name: str, images: Tensor, scoring: Tensor) -> None:
    """The argument ``name`` holds images of the shape of the scoring images, or none.

    Raises:
        DataError: it does not.
    """
    if len(images) and images.shape[1:] != scoring.shape[1:]:
        shapes = [tuple(tensor.shape[1:]) for tensor in (images, scoring)]
        msg = f"`{name}` have shape {shapes[0]}, `scoring_images` {shapes[1]}: prepare both alike"
        raise DataError(msg)


def cast_like_weights(model: nn.Module, images: Tensor) -> Tensor:
    """Floats in the dtype of the weights; others as they are."""
    floating = (tensor.dtype for tensor in model.parameters() if tensor.is_floating_point())
    return images.to(next(floating, torch.float32)) if images.is_floating_point() else images


def check_outputs(outputs: Tensor, count: int, images: ImageSets, *, own_labels: bool = False) -> None:
    """What the dense network says to ``count`` images can be held against the labels.

    Args:
        outputs: its judged output on them, which must be ``(count, K)`` or, per pixel, ``(count, K, ...)``.
        count: how many.
        images: whose labels are ``(N,)`` or ``(N, ...)``.
        own_labels: the scorer alone knows what labels mean.

    Raises:
        DataError: shapes do not fit, or a label is none of the K classes.
    """
    if outputs.ndim < 2 or len(outputs) != count:
        msg = (
            f"the network has outputs of shape {tuple(outputs.shape)} for {count} images: scoring needs (N, K), one "
            "number per class, or (N, K, ...) per pixel"
        )
        raise DataError(msg)
    for name, labels in (("scoring_labels", images.labels), ("training", images.training_labels)):
        if labels is not None and not own_labels:
            _check_labels(name, outputs, labels)


def _check_labels(name: str, outputs: Tensor, labels: Tensor) -> None:
    classes, expected = outputs.shape[1], (len(labels), *outputs.shape[2:])
    if tuple(labels.shape) != expected:
        msg = (
            f"`{name}` have shape {tuple(labels.shape)}, the network's answers ask for {expected}: give class "
            "numbers; labels.argmax(1) of one-hot labels, labels.squeeze(1) of a column"
        )
        raise DataError(msg)
    out_of_range = (labels < 0) | (labels >= classes)
    if labels.ndim > 1:
        out_of_range &= labels != IGNORED
        _require_labelled(name, labels)
    wrong = torch.unique(labels[out_of_range])
    if len(wrong):
        shown = ", ".join(map(str, wrong[:_SHOWN].tolist())) + (", ..." if len(wrong) > _SHOWN else "")
        msg = f"`{name}` hold {shown} where the network has {classes} classes: {_remedy(outputs)}"
        raise DataError(msg)


def _require_labelled(name: str, labels: Tensor) -> None:
    empty = (labels == IGNORED).flatten(1).all(1).nonzero().flatten().tolist()
    if empty:
        msg = f"{len(empty)} of the `{name}` hold no class at all ({IGNORED} everywhere): leave these images out"
        raise DataError(msg)


def _remedy(outputs: Tensor) -> str:
    """What to do about labels that are no class."""
    classes = outputs.shape[1]
    if classes == 1:
        return "no label can be right or wrong there; score without labels, by dense_mse"
    without = f"{IGNORED} where a pixel has none"
    return f"give integers from 0 to {classes - 1}; " + (
        without if outputs.ndim > 2 else "leave out images that have no label"
    )
