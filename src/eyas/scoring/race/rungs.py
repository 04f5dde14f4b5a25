"""The rungs of a race: how many images each candidate sees, in which mode, and how many go on."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from eyas.errors import DataError, ParameterError


def _share_or_number(value: Any) -> Any:
    """A share, or a whole number that may be written as a float; 1.0 could be either."""
    if isinstance(value, float) and value > 1 and value.is_integer():
        value = int(value)
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if not (whole or (isinstance(value, float) and 0 < value < 1)):
        msg = "give a share below 1 or a whole number of candidates; to keep all, leave this rung out"
        raise ValueError(msg)
    return value


class Rung(BaseModel):
    """One round of scoring."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    images: Annotated[int, Field(ge=2)]
    """Scoring images each candidate sees, at most; every rung takes them from the front of one shuffle."""
    mode: Literal["fused", "held_out"] = "fused"
    """``fused``: one pass calibrates and scores. ``held_out``: calibration images first, scoring images then."""
    calibration_images: Annotated[int, Field(ge=2)] | None = None
    """Held out: images that re-estimate the statistics, at most; without it as many as ``images``."""
    keep: Annotated[int | float, BeforeValidator(_share_or_number)] = 0.25
    """What goes on to the next rung: a share below 1, or a whole number of candidates."""

    @model_validator(mode="after")
    def _calibrates_only_where_it_can(self) -> Self:
        if self.mode == "fused" and self.calibration_images is not None:
            msg = "a fused rung calibrates on the images that it scores: leave calibration_images out, or say held_out"
            raise ValueError(msg)
        return self

    def survivors(self, entered: int) -> int:
        """How many of ``entered`` candidates go on, at least one."""
        kept = math.ceil(self.keep * entered) if self.keep < 1 else int(self.keep)
        return min(kept, entered)

    def cost(self) -> int:
        """Images forwarded per candidate."""
        return self.images + (self.calibration_images or 0 if self.mode == "held_out" else 0)


DEFAULT_RUNGS = (
    Rung(images=256, keep=0.25),
    Rung(images=512, keep=8),
    Rung(images=4096, calibration_images=1024, mode="held_out"),
)
"""All candidates on 256 images, a quarter on 512, eight finalists held out."""


def parse_rungs(rungs: Sequence[Rung | dict[str, Any]] | None) -> tuple[Rung, ...]:
    """Check rungs that a caller gave; None means the default.

    Raises:
        ParameterError: there is none, or a rung is malformed.
    """
    if rungs is None:
        return DEFAULT_RUNGS
    if isinstance(rungs, (Rung, dict)) or not isinstance(rungs, Sequence):
        msg = f"`rungs` {rungs!r}: give a list of rungs, such as [Rung(images=512)]"
        raise ParameterError(msg)
    try:
        parsed = tuple(Rung.model_validate(rung) for rung in rungs)
    except ValidationError as error:
        msg = f"`rungs` {rungs!r}: {error}"
        raise ParameterError(msg) from error
    if not parsed:
        msg = "`rungs` is empty: give at least one, such as Rung(images=512)"
        raise ParameterError(msg)
    return parsed


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
        if fitted and (fitted[-1].mode, fitted[-1].images, fitted[-1].calibration_images) == (
            rung.mode,
            images,
            wanted,
        ):
            fitted.pop()
        fitted.append(new)
    return tuple(fitted)
