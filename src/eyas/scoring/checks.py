"""What a caller of :func:`eyas.score` may give: all that is refused before the race begins.

Shapes: N images, K classes.
"""

import logging
import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from eyas.batchnorm import batch_norms
from eyas.errors import DataError, ParameterError
from eyas.scorers import Scorer
from eyas.scoring.images import Images, prepare
from eyas.scoring.rungs import Rung

_log = logging.getLogger(__name__)
_SHOWN = 5


def check_settings(*, device: str, workers: int, threads: int | None, batch_size: int, stop_margin: float) -> None:
    """Refuse settings that no race can have.

    Raises:
        ParameterError: says which, and what is allowed.
    """
    _check_device(device)
    if not _is_whole(workers, 1) or not (threads is None or _is_whole(threads, 1)) or not _is_whole(batch_size, 2):
        msg = (
            f"workers={workers}, threads={threads} and batch_size={batch_size}: give whole numbers, at least 1 worker, "
            "at least 1 thread (or None) and batches of at least 2 images"
        )
        raise ParameterError(msg)
    if math.isnan(stop_margin) or stop_margin <= 0:
        msg = f"stop_margin={stop_margin}: give a number of standard errors above 0; inf never stops early"
        raise ParameterError(msg)


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, Integral) and int(value) >= least


def _check_device(device: str) -> None:
    try:
        parsed = torch.device(device)
    except (RuntimeError, TypeError):
        parsed = torch.device("meta")
    if not isinstance(device, str) or parsed.type not in {"cpu", "cuda"}:
        msg = f"device {device!r}: give cpu, cuda or cuda:N"
        raise ParameterError(msg)
    if parsed.type == "cuda" and not torch.cuda.is_available():
        msg = f"device {device!r}: torch {torch.__version__} finds no CUDA device here; use device='cpu'"
        raise ParameterError(msg)
    if parsed.type == "cuda" and (parsed.index or 0) >= torch.cuda.device_count():
        msg = f"device {device!r}: there are {torch.cuda.device_count()} CUDA devices, counted from 0"
        raise ParameterError(msg)


def check_final_rung(rungs: Sequence[Rung], model: nn.Module, calibration: Tensor) -> None:
    """Finalists of several rungs are decided held out, wherever that makes a difference and can be done.

    Raises:
        ParameterError: the last of several rungs is fused.
    """
    if len(rungs) > 1 and rungs[-1].mode == "fused" and len(calibration) and batch_norms(model):
        msg = (
            f"the last of {len(rungs)} rungs is fused: finalists are decided on images that did not calibrate them; "
            "give it mode held_out (one fused rung alone is allowed)"
        )
        raise ParameterError(msg)


def prepared(model: nn.Module, calibration: Any, scoring: Any, labels: Any, *, seed: int) -> Images:
    """Images and labels, checked, in the dtype of the weights, shuffled by ``seed``.

    Raises:
        DataError: they cannot be used.
    """
    calibration, scoring = torch.as_tensor(calibration), torch.as_tensor(scoring)
    if calibration.data_ptr() == scoring.data_ptr() and len(scoring):
        _log.warning("calibration_images and scoring_images are the same: held-out rungs hold nothing out")
    if len(calibration) and calibration.shape[1:] != scoring.shape[1:]:
        shapes = [tuple(images.shape[1:]) for images in (calibration, scoring)]
        msg = f"calibration_images have shape {shapes[0]}, scoring_images {shapes[1]}: prepare both alike"
        raise DataError(msg)
    weights = next((tensor.dtype for tensor in model.parameters() if tensor.is_floating_point()), torch.float32)
    calibration, scoring = (x.to(weights) if x.is_floating_point() else x for x in (calibration, scoring))
    return prepare(calibration, scoring, None if labels is None else _as_labels(labels), seed=seed)


def _as_labels(labels: Any) -> Tensor:
    try:
        given = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        msg = f"scoring_labels cannot be made a tensor ({error}): give one integer each"
        raise DataError(msg) from error
    if given.ndim == 0:
        msg = f"scoring_labels are the single value {given.item()}: give one integer each"
        raise DataError(msg)
    return given


def check_answers(answers: Tensor, images: int, labels: Tensor | None) -> None:
    """What the dense network says to ``images`` images can be held against the labels.

    Args:
        answers: its judged output on them, which must be ``(images, K)`` or, per pixel, ``(images, K, ...)``.
        images: how many.
        labels: of all scoring images, ``(N,)`` or ``(N, ...)``.

    Raises:
        DataError: shapes do not fit, or a label is none of the K classes.
    """
    if answers.ndim < 2 or len(answers) != images:
        msg = (
            f"the network has outputs of shape {tuple(answers.shape)} for {images} images: scoring needs (N, K), one "
            "number per class, or (N, K, ...) per pixel"
        )
        raise DataError(msg)
    if labels is None:
        return
    classes, expected = answers.shape[1], (len(labels), *answers.shape[2:])
    if tuple(labels.shape) != expected:
        msg = (
            f"scoring_labels have shape {tuple(labels.shape)}, the network's answers ask for {expected}: give class "
            "numbers; labels.argmax(1) of one-hot labels, labels.squeeze(1) of a column"
        )
        raise DataError(msg)
    wrong = torch.unique(labels[(labels < 0) | (labels >= classes)])
    if len(wrong):
        shown = ", ".join(map(str, wrong[:_SHOWN].tolist())) + (", ..." if len(wrong) > _SHOWN else "")
        msg = (
            f"scoring_labels hold {shown} where the network has {classes} classes: give integers from 0 to "
            f"{classes - 1}, and leave out images without a label"
        )
        raise DataError(msg)


def choose_scorer(scorer: Scorer | str | None, labels: Any) -> Scorer:
    """The scorer asked for, or the best one for what is there.

    Raises:
        DataError: it needs labels and there are none.
    """
    chosen = Scorer.parse(scorer or ("dense_kl" if labels is None else "cross_entropy"))
    if chosen.needs_labels and labels is None:
        msg = (
            f"scorer {chosen.model_dump()['kind']} needs labels and none are given: give scoring_labels, or choose "
            "dense_kl or dense_mse, which compare with the dense network"
        )
        raise DataError(msg)
    return chosen
