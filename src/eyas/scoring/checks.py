"""What a caller of :func:`eyas.score` may give: all that is refused, or doubted, for its own sake.

Shapes: N images, K classes.
"""

import logging
import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eyas.batchnorm import batch_norms, frozen_norms
from eyas.errors import CheckpointError, DataError, ParameterError
from eyas.scorers import Scorer
from eyas.scoring.images import Images, prepare
from eyas.scoring.rungs import Rung

_log = logging.getLogger(__name__)
_SHOWN = 5


def check_settings(
    *, device: str, on_cluster: bool, workers: int, threads: int | None, batch_size: int, stop_margin: float
) -> None:  # fmt: skip
    """Refuse settings that no race can have.

    Raises:
        ParameterError: says which, and what is allowed.
    """
    _check_device(device, on_cluster=on_cluster)
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


def _check_device(device: str, *, on_cluster: bool) -> None:
    try:
        parsed = torch.device(device)
    except (RuntimeError, TypeError):
        parsed = torch.device("meta")
    if not isinstance(device, str) or parsed.type not in {"cpu", "cuda"}:
        msg = f"device {device!r}: give cpu, cuda or cuda:N"
        raise ParameterError(msg)
    if on_cluster:
        return  # this machine's GPUs are not the cluster's
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


def check_scores(scores: NDArray[np.float64], rungs: NDArray[np.int64], model: nn.Module) -> None:
    """Some candidate that came furthest has a score.

    Args:
        scores: of every candidate.
        rungs: the last rung that each reached.
        model: the dense network, whose weights may be the cause.

    Raises:
        CheckpointError: none has, and the dense network's own weights are not finite.
        DataError: none has.
    """
    if np.isfinite(scores[rungs == rungs.max()]).any():
        return
    state = model.state_dict().items()
    broken = [name for name, tensor in state if tensor.is_floating_point() and not torch.isfinite(tensor).all()]
    if broken:
        names = ", ".join(broken[:_SHOWN]) + (", ..." if len(broken) > _SHOWN else "")
        msg = f"no candidate has a finite score: the dense network's {names} hold NaN or infinities; repair its weights"
        raise CheckpointError(msg)
    msg = (
        "no candidate has a finite score, although the dense network's weights are finite: its outputs overflow on "
        "these images; look at their normalisation, and at the precision"
    )
    raise DataError(msg)


def doubts(model: nn.Module, rungs: Sequence[Rung], plans: int, calibration: Any, scoring: Any) -> tuple[str, ...]:
    """Warnings that network, rungs and images give cause for, logged at once."""
    found = []
    if others := frozen_norms(model):
        names = ", ".join(others[:_SHOWN]) + (", ..." if len(others) > _SHOWN else "")
        found.append(
            f"{len(others)} normalisation layers with running statistics are no torch.nn.BatchNorm ({names}) and keep "
            "the dense network's statistics: a frozen batch-norm made a torch.nn.BatchNorm2d would be recalibrated"
        )
    if not batch_norms(model):
        found.append(
            "the network has no batch-norm with running statistics: there is nothing to calibrate, candidates are "
            "scored by plain evaluation, which may say little about their accuracy after fine-tuning"
        )
    if rungs[-1].mode == "fused" and plans > 1 and batch_norms(model):
        found.append("the last rung is fused: the winner is judged on the images that calibrated it")
    if len(scoring) and torch.equal(torch.as_tensor(calibration), torch.as_tensor(scoring)):
        found.append("calibration_images and scoring_images are the same: held-out rungs hold nothing out")
    for doubt in found:
        _log.warning(doubt)
    return tuple(found)


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
