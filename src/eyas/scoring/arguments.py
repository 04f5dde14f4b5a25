"""What a caller of :func:`eyas.score` may give, but for images: all that is refused for its own sake."""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from eyas.calibration.batchnorm import batch_norms
from eyas.errors import DataError, ParameterError, PlanError, all_faults
from eyas.pruning.plan import PruningPlan
from eyas.scoring.candidates import WidthPlans
from eyas.scoring.features import find_head
from eyas.scoring.image_sets import ImageSets
from eyas.scoring.race.rungs import Rung
from eyas.scoring.reward import Reward
from eyas.scoring.score_options import ScoreOptions
from eyas.scoring.scorers import Scorer
from eyas.scoring.short_training import refit_images

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace

_LARGEST_SEED = 2**63 - 1


def check_options(options: ScoreOptions, *, device: str, seed: int) -> None:
    """Refuse settings that no race can have.

    Raises:
        ParameterError: says which, and what is allowed.
    """
    _check_device(device, on_cluster=options.cluster is not None)
    _check_whole("workers", options.workers, 1)
    if options.threads is not None:
        _check_whole("threads", options.threads, 1)
    _check_whole("batch_size", options.batch_size, 2)
    _check_whole("seed", seed, -_LARGEST_SEED)
    margin = options.stop_margin
    if not isinstance(margin, Real) or math.isnan(margin) or margin <= 0:
        msg = f"`stop_margin` {margin!r}: give a number of standard errors above 0; inf never stops early"
        raise ParameterError(msg)


def _check_whole(name: str, value: Any, least: int) -> None:
    if not isinstance(value, Integral) or not least <= int(value) <= _LARGEST_SEED:
        msg = f"`{name}` {value!r}: give a whole number from {least} to {_LARGEST_SEED}"
        raise ParameterError(msg)


def check_plans(plans: Any, space: "SearchSpace") -> None:
    """Candidates are a sequence of plans of this space; those that a :class:`WidthPlans` makes are.

    Raises:
        PlanError: there are none, or they are something else; says what to do.
    """
    if isinstance(plans, PruningPlan):
        msg = "`plans` is one plan: put it in a list"
        raise PlanError(msg)
    if not isinstance(plans, Sequence) or isinstance(plans, str):
        msg = (
            f"`plans` is a {type(plans).__name__}: give a list of plans; a width matrix as eyas.scoring.WidthPlans("
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
            msg = f"`plans`[{number}] is a {type(plan).__name__}: make it a plan with space.plan(widths)"
            raise PlanError(msg)
        space.mask(plan)


def _check_device(device: str, *, on_cluster: bool) -> None:
    try:
        parsed = torch.device(device)
    except (RuntimeError, TypeError):
        parsed = torch.device("meta")
    if not isinstance(device, str) or parsed.type not in {"cpu", "cuda"}:
        msg = f"`device` {device!r}: give cpu, cuda or cuda:N"
        raise ParameterError(msg)
    if on_cluster:
        return  # this machine's GPUs are not the cluster's
    if parsed.type == "cuda" and not torch.cuda.is_available():
        msg = f"`device` {device!r}: torch {torch.__version__} finds no CUDA device here; use cpu"
        raise ParameterError(msg)
    if parsed.type == "cuda" and (parsed.index or 0) >= torch.cuda.device_count():
        msg = f"`device` {device!r}: there are {torch.cuda.device_count()} CUDA devices, counted from 0"
        raise ParameterError(msg)


def check_final_rung(rungs: Sequence[Rung], model: nn.Module, calibration_images: Tensor) -> None:
    """Finalists of several rungs are decided held out, wherever that makes a difference and can be done.

    Raises:
        ParameterError: the last of several rungs is fused.
    """
    if len(rungs) > 1 and rungs[-1].mode == "fused" and len(calibration_images) and batch_norms(model):
        msg = (
            f"the last of {len(rungs)} rungs is fused: finalists are decided on images that did not calibrate them; "
            "give it mode held_out (one fused rung alone is allowed)"
        )
        raise ParameterError(msg)


def check_training(rungs: Sequence[Rung], images: ImageSets, scorer: Scorer) -> None:
    """Rungs that train or refit have images for it, and train by what is judged.

    Raises:
        DataError: they have none, or a single one.
        ParameterError: only ``scorer`` knows what labels mean.
    """
    longest = max(rung.steps or 0 for rung in rungs)
    if longest and scorer.own_answers:
        msg = f"`rungs` train for up to {longest} steps by classes, which `scorer` {scorer.kind} does not judge"
        raise ParameterError(f"{msg}: leave the steps out")
    if longest and (images.training is None or len(images.training) < 2):
        count = 0 if images.training is None else len(images.training)
        msg = (
            f"`rungs` train for up to {longest} steps, on {count} images: give `training` (images, labels), with None "
            "for labels where there are none, or leave the steps out"
        )
        raise DataError(msg)
    if any(rung.steps is not None and rung.recovery is not None for rung in rungs) and len(refit_images(images)) < 2:
        msg = f"`rungs` refit on {len(refit_images(images))} images: give `calibration_images`, or recovery null"
        raise DataError(msg)


def search_scorer(model: nn.Module, example: Tensor, labels: Any, output: int | str | None) -> Scorer:
    """What ranks the candidates of a search best: ``dense_probe`` where the network has features that it can judge.

    Args:
        model: the dense network, in eval mode.
        example: a few scoring images.
        labels: of the scoring images, or None.
        output: which output is judged.
    """
    try:
        head = model.get_submodule(find_head(model, example, output))
    except DataError:
        return choose_scorer(None, labels)
    several = isinstance(head, nn.Linear) and head.out_features > 1
    return Scorer.parse("dense_probe") if several else choose_scorer(None, labels)


def choose_reward(options: ScoreOptions, scorer: Scorer) -> Reward | None:
    """The reward asked for, beside a scorer whose numbers it can multiply.

    Raises:
        ParameterError: it is none, or does not go with the scorer, the prior, or what is known of milliseconds.
    """
    if options.reward is None:
        return None
    try:
        reward = Reward.model_validate(options.reward)
    except ValidationError as error:
        raise ParameterError(all_faults(error, Reward, options.reward, "reward")) from error
    kind = scorer.model_dump()["kind"]
    able = ", ".join(name for name, member in Scorer.members().items() if member.is_share)
    problems = {
        f"it multiplies scores that are shares of 1, such as accuracies, and those of `scorer` {kind} are none: set "
        f"`scorer` to one of {able}, or leave `reward` out": not scorer.is_share,
        "`prior` adds to what it multiplies: give one of them": options.prior is not None,
        "it weighs latency: give `latency`, such as a LatencyModel": bool(reward.latency) and options.latency is None,
    }
    for problem, holds in problems.items():
        if holds:
            msg = f"`reward`: {problem}"
            raise ParameterError(msg)
    return reward


def choose_scorer(scorer: Any, labels: Any) -> Scorer:
    """The scorer asked for, or the best one for what is there.

    Raises:
        DataError: it needs labels and there are none.
    """
    chosen = Scorer.parse(scorer or ("dense_kl" if labels is None else "cross_entropy"))
    if chosen.needs_labels and labels is None:
        msg = (
            f"`scorer` {chosen.model_dump()['kind']} needs labels and none are given: give `scoring_labels`, or choose "
            "dense_kl, dense_mse or dense_probe, which compare with the dense network"
        )
        raise DataError(msg)
    return chosen
