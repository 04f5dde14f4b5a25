"""``finetune.gradual``: pruning in several cuts."""

from typing import Annotated

from pydantic import Field

from eyas.config.section import Fraction, Section
from eyas.pruning.criteria import AnyCriterion, Criterion
from eyas.training.length import MIN_EPOCHS


class GradualParams(Section):
    """Channels go in several cuts, and what is left is trained in between; the epochs in all stay the same."""

    cuts: Annotated[int, Field(ge=1, le=MIN_EPOCHS, strict=True)] = 3
    """How many. Each takes the same share of every group's channels, and is recalibrated and, with ``recovery``,
    refitted; the last leads to the winner."""
    share: Fraction = 0.5
    """Share of the epochs before the last cut."""
    criterion: AnyCriterion = Field(default_factory=lambda: Criterion.parse("weight_activation"))
    """Which of the channels that the winner does not keep go first."""
