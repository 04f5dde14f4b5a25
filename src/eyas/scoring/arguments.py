"""What a caller of :func:`eyas.score` may give: all that is refused for its own sake.

Shapes: N images, K classes.
"""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn

from eyas.calibration.batchnorm import batch_norms
from eyas.component import Component
from eyas.errors import CheckpointError, DataError, ParameterError, PlanError
from eyas.pruning.plan import PruningPlan
from eyas.scoring.candidates import WidthPlans
from eyas.scoring.image_sets import Images, prepare
from eyas.scoring.race.rungs import Rung
from eyas.scoring.scorers import Scorer

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace

Member = TypeVar("Member", bound=Component)
_SHOWN = 5
_LARGEST_SEED = 2**63 - 1


def check_settings(
    *, device: str, on_cluster: bool, workers: int, threads: int | None, batch_size: int, seed: int, stop_margin: float
) -> None:  # fmt: skip
    """Refuse settings that no race can have.

    Raises:
        ParameterError: says which, and what is allowed.
    """
    _check_device(device, on_cluster=on_cluster)
    _check_whole("workers", workers, 1)
    if threads is not None:
        _check_whole("threads", threads, 1)
    _check_whole("batch_size", batch_size, 2)
    _check_whole("seed", seed, -_LARGEST_SEED)
    if not isinstance(stop_margin, Real) or math.isnan(stop_margin) or stop_margin <= 0:
        msg = f"stop_margin={stop_margin!r}: give a number of standard errors above 0; inf never stops early"
        raise ParameterError(msg)


def _check_whole(name: str, value: Any, least: int) -> None:
    if not isinstance(value, Integral) or not least <= int(value) <= _LARGEST_SEED:
        msg = f"{name}={value!r}: give a whole number from {least} to {_LARGEST_SEED}"
        raise ParameterError(msg)


def check_plans(plans: Any, space: "SearchSpace") -> None:
    """Candidates are a sequence of plans of this space; those that a :class:`WidthPlans` makes are.

    Raises:
        PlanError: there are none, or they are something else; says what to do.
    """
    if isinstance(plans, PruningPlan):
        msg = "plans is one plan: put it in a list"
        raise PlanError(msg)
    if not isinstance(plans, Sequence) or isinstance(plans, str):
        msg = (
            f"plans is a {type(plans).__name__}: give a list of plans; a width matrix as eyas.scoring.WidthPlans("
            "width_matrix, space.planner(criterion))"
        )
        raise PlanError(msg)
    if not len(plans):
        msg = "no plans to score: draw some with a sampler, or with space.plan(widths)"
        raise PlanError(msg)
    if isinstance(plans, WidthPlans):
        return
    for number, plan in enumerate(plans):
        if not isinstance(plan, PruningPlan):
            msg = f"plans[{number}] is a {type(plan).__name__}: make it a plan with space.plan(widths)"
            raise PlanError(msg)
        space.mask(plan)


def parsed(family: type[Member], value: Any) -> Member:
    """A member of a family of components.

    Raises:
        ParameterError: there is no such member, or it takes no such options.
    """
    try:
        return family.parse(value)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        msg = f"{family.family} {value!r}: {wrong}"
        raise ParameterError(msg) from error


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
        msg = f"device {device!r}: torch {torch.__version__} finds no CUDA device here; use cpu"
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

    Args:
        model: the dense network.
        calibration: images, or None for none.
        scoring: images.
        labels: of the scoring images, or None.
        seed: shuffles.

    Raises:
        DataError: they cannot be used.
    """
    scoring = _as_images("scoring_images", scoring)
    calibration = scoring[:0] if calibration is None else _as_images("calibration_images", calibration)
    if len(calibration) and calibration.shape[1:] != scoring.shape[1:]:
        shapes = [tuple(images.shape[1:]) for images in (calibration, scoring)]
        msg = f"calibration_images have shape {shapes[0]}, scoring_images {shapes[1]}: prepare both alike"
        raise DataError(msg)
    weights = next((tensor.dtype for tensor in model.parameters() if tensor.is_floating_point()), torch.float32)
    calibration, scoring = (x.to(weights) if x.is_floating_point() else x for x in (calibration, scoring))
    return prepare(calibration, scoring, None if labels is None else _as_labels(labels), seed=seed)


def _as_images(name: str, given: Any) -> Tensor:
    try:
        images = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError) as error:
        msg = (
            f"{name} is a {type(given).__name__} that is no tensor ({error}): give one tensor (N, C, H, W); a list of "
            "images as torch.stack(images), a loader as torch.cat([batch for batch, _ in loader])"
        )
        raise DataError(msg) from error
    if images.ndim < 2:
        msg = f"{name} have shape {tuple(images.shape)}: give one tensor (N, C, H, W)"
        raise DataError(msg)
    return images


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
        msg = f"scoring_labels hold {shown} where the network has {classes} classes: {_remedy(answers)}"
        raise DataError(msg)


def _remedy(answers: Tensor) -> str:
    """What to do about labels that are no class."""
    classes = answers.shape[1]
    if classes == 1:
        return "no label can be right or wrong there; score without labels, by dense_mse"
    without = "score by dense_kl, which needs no labels, where pixels have none"
    return f"give integers from 0 to {classes - 1}; " + (
        without if answers.ndim > 2 else "leave out images that have no label"
    )


def check_scores(scores: NDArray[np.float64], rungs: NDArray[np.int64], model: nn.Module) -> None:
    """Some finalist (a candidate that came furthest) has a score.

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
        msg = f"no finalist has a finite score: the dense network's {names} hold NaN or infinities; repair its weights"
        raise CheckpointError(msg)
    msg = (
        "no finalist has a finite score, although the dense network's weights are finite: its outputs overflow on "
        "these images; look at their normalisation, and at the precision"
    )
    raise DataError(msg)


def choose_scorer(scorer: Any, labels: Any) -> Scorer:
    """The scorer asked for, or the best one for what is there.

    Raises:
        DataError: it needs labels and there are none.
    """
    chosen = parsed(Scorer, scorer or ("dense_kl" if labels is None else "cross_entropy"))
    if chosen.needs_labels and labels is None:
        msg = (
            f"scorer {chosen.model_dump()['kind']} needs labels and none are given: give scoring_labels, or choose "
            "dense_kl, dense_mse or dense_probe, which compare with the dense network"
        )
        raise DataError(msg)
    return chosen
