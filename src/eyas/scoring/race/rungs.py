"""The rungs of a race: images each candidate sees, in which mode, after how many training steps, and who goes on."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from eyas.component import Options
from eyas.errors import DataError, ParameterError, all_faults
from eyas.recovery import AnyRecovery, Recovery

_OF_STEPS = ("steps", "batch_size", "learning_rate", "distillation", "recovery", "trained")
"""Fields that say how a rung trains."""
_PASSES_PER_STEP = 3
"""A training step costs as much as forwarding its images so many times: once forward, twice back."""


def _share_or_number(value: Any) -> Any:
    """A share, or a whole number that may be written as a float; 1.0 could be either."""
    if isinstance(value, float) and value > 1 and value.is_integer():
        value = int(value)
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if not (whole or (isinstance(value, float) and 0 < value < 1)):
        msg = "give a share below 1 or a whole number of candidates; to keep all, leave this rung out"
        raise ValueError(msg)
    return value


class Rung(Options):
    """One round of scoring; with ``steps`` each candidate is trained for a few steps first."""

    images: Annotated[int, Field(ge=2)] = 2048
    """Scoring images each candidate sees, at most; every rung takes them from the front of one shuffle. May be left out
    with ``steps`` only."""
    mode: Literal["fused", "held_out"] = "fused"
    """``fused``: one pass calibrates and scores. ``held_out``: calibration images first, scoring images then; always so
    after training steps, and the default with ``steps: 0``."""
    calibration_images: Annotated[int, Field(ge=2)] | None = None
    """Held out: images that re-estimate the statistics, at most; without it as many as ``images``."""
    keep: Annotated[int | float, BeforeValidator(_share_or_number)] = 0.25
    """What goes on to the next rung: a share below 1, or a whole number of candidates."""
    steps: Annotated[int, Field(ge=0)] | None = None
    """Train each candidate for so many steps before it is judged, starting from its pruned weights: SGD with Nesterov
    momentum, the rate's cosine to zero, the same batches for all. 0 trains nothing: candidates are refitted only."""
    batch_size: Annotated[int, Field(ge=2)] = 128
    """Training images of a step, at most as many as the race's own batches have."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.05
    """Of the first step."""
    distillation: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Weight of the dense network's answers in the loss, beside the labels; 1 where there are no labels."""
    recovery: AnyRecovery | None = Field(default_factory=lambda: Recovery.parse("least_squares"))
    """Refit in closed form before training; null trains the pruned weights as they are."""
    trained: Annotated[int, Field(ge=1)] | None = None
    """Train only so many of those that enter, eight at a time: first the best before training, then those whom a
    surrogate, fitted on all verdicts so far, expects to improve most on the best. Without it all are trained."""

    @model_validator(mode="before")
    @classmethod
    def _steps_are_held_out(cls, content: Any) -> Any:
        if isinstance(content, Mapping) and content.get("steps") is not None:
            return {"mode": "held_out", **content}
        return content

    @model_validator(mode="after")
    def _says_what_it_needs(self) -> Self:
        if self.mode == "fused" and self.calibration_images is not None:
            msg = "a fused rung calibrates on the images that it scores: leave calibration_images out, or say held_out"
            raise ValueError(msg)
        if self.steps is not None:
            if self.mode == "fused" and self.steps:
                msg = "a rung of training steps is judged held_out: leave mode out"
                raise ValueError(msg)
            return self
        if "images" not in self.model_fields_set:
            msg = "say how many images the rung sees, or how many steps it trains: {images: 512}, {steps: 10}"
            raise ValueError(msg)
        if idle := [name for name in _OF_STEPS if name in self.model_fields_set - {"steps"}]:
            msg = f"{', '.join(idle)}: only a rung of training steps has them; say how many steps, or leave them out"
            raise ValueError(msg)
        return self

    @model_serializer(mode="wrap")
    def _without_idle_fields(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """All fields, but how to train only where the rung trains."""
        content: dict[str, Any] = write(self)
        idle = () if self.steps is not None else _OF_STEPS
        return {name: value for name, value in content.items() if name not in idle}

    def survivors(self, entered: int) -> int:
        """How many of ``entered`` candidates go on, at least one."""
        kept = math.ceil(self.keep * entered) if self.keep < 1 else int(self.keep)
        return min(kept, entered)

    @property
    def training_images(self) -> int:
        """Images that the steps take, where none is taken twice."""
        return (self.steps or 0) * self.batch_size

    def cost(self) -> int:
        """Images forwarded per candidate; a step counts as three forward passes of its images."""
        calibration = self.calibration_images or 0 if self.mode == "held_out" else 0
        return self.images + calibration + _PASSES_PER_STEP * self.training_images


DEFAULT_RUNGS = (
    Rung(images=256, keep=0.25),
    Rung(images=512, keep=8),
    Rung(images=4096, calibration_images=1024, mode="held_out"),
)
"""All candidates on 256 images, a quarter on 512, eight finalists held out."""
REFITTED_RUNGS = (
    Rung(steps=0, mode="fused", images=512, keep=8),
    Rung(steps=0, images=4096, calibration_images=1024),
)
"""What a search races by: every candidate is refitted before it is judged, as the winner will be."""
TRAINING_RUNGS = (*DEFAULT_RUNGS[:2], Rung(steps=10, keep=3), Rung(steps=40))
"""The same where there are images to train on: eight finalists train for 10 steps, three of them for 40."""


def parse_rungs(rungs: Sequence[Rung | dict[str, Any]] | None, *, training: bool = False) -> tuple[Rung, ...]:
    """Check rungs that a caller gave; None means the default, with images to ``training`` the one that trains.

    Raises:
        ParameterError: there is none, a rung is malformed, or none uses the images to train on.
    """
    if rungs is None:
        return TRAINING_RUNGS if training else DEFAULT_RUNGS
    if isinstance(rungs, (Rung, dict)) or not isinstance(rungs, Sequence):
        msg = f"`rungs` {rungs!r}: give a list of rungs, such as [Rung(images=512)]"
        raise ParameterError(msg)
    parsed = tuple(map(_parse_rung, rungs))
    if not parsed:
        msg = "`rungs` is empty: give at least one, such as Rung(images=512)"
        raise ParameterError(msg)
    if problem := order_problem(parsed):
        msg = f"`rungs`: {problem}"
        raise ParameterError(msg)
    if training and not any(rung.steps for rung in parsed):
        msg = "none of `rungs` trains on the `training` images: end with one such as Rung(steps=10), or leave them out"
        raise ParameterError(msg)
    return parsed


def _parse_rung(rung: Any) -> Rung:
    try:
        return Rung.model_validate(rung)
    except ValidationError as error:
        raise ParameterError(all_faults(error, Rung, rung, "rungs", "a rung")) from error


def with_finalists(rungs: tuple[Rung, ...]) -> tuple[Rung, ...]:
    """Rungs as a parameter file may have them.

    Raises:
        ValueError: there are none, the last decides on images that calibrated, or their order makes no sense.
    """
    if not rungs:
        msg = "give at least one rung, such as {images: 512}"
        raise ValueError(msg)
    if len(rungs) > 1 and rungs[-1].mode == "fused":
        msg = "the last of several rungs decides the finalists, on images that did not calibrate them: mode held_out"
        raise ValueError(msg)
    if problem := order_problem(rungs):
        raise ValueError(problem)
    return rungs


def order_problem(rungs: Sequence[Rung]) -> str | None:
    """What is wrong with the order of the rungs: those that train are the last."""
    kinds = [rung.steps is not None for rung in rungs]
    if kinds == sorted(kinds):
        return None
    return "a rung without steps follows one with steps, and would judge untrained what was trained: put it before"


def fit_rungs(rungs: Sequence[Rung], *, calibration: int | None, scoring: int) -> tuple[Rung, ...]:
    """The rungs on so many images: numbers capped, and a fused rung that would add no image merged away.

    Args:
        rungs: as asked for.
        calibration: how many calibration images there are; None where the network has nothing to calibrate.
        scoring: how many scoring images there are.

    Raises:
        DataError: there are too few images for what a rung does.
    """
    if scoring < 2:
        msg = f"{scoring} scoring images: scoring needs at least 2, better some hundred"
        raise DataError(msg)
    fitted: list[Rung] = []
    for rung in rungs:
        wanted = None
        if rung.mode == "held_out" and calibration is not None:
            if calibration < 2:
                msg = (
                    f"{calibration} calibration images: held-out scoring needs at least 2, better some hundred; "
                    "without any, score in one fused rung: `rungs` [{images: 512}]"
                )
                raise DataError(msg)
            wanted = min(rung.calibration_images or rung.images, calibration)
        images = min(rung.images, scoring)
        new = rung.model_copy(update={"images": images, "calibration_images": wanted})
        if fitted and fitted[-1].model_copy(update={"keep": new.keep}) == new:
            fitted.pop()
        fitted.append(new)
    return tuple(fitted)
