"""What became of the winner beside uniform widths, once both were fine-tuned alike (``finetune.compare_uniform``)."""

import math
from collections.abc import Mapping
from typing import Any

from eyas.operations.paired_difference import PairedDifference, recorded
from eyas.scoring.diagnosis import outcome, standing

PREFIX = "uniform_"
"""Of finetune's metrics of the network of uniform widths; gained are images that only the winner is right on."""


def uniform_counts(finetune: Mapping[str, float]) -> PairedDifference | None:
    """From uniform widths to the winner on the test images; None where only the winner was fine-tuned."""
    return recorded(finetune, f"{PREFIX}test", "test_images")


def uniform_outcome(finetune: Mapping[str, float], diagnostics: Mapping[str, Any]) -> str | None:
    """In words, beside what the race predicted; None where only the winner was fine-tuned.

    Args:
        finetune: the stage's metrics.
        diagnostics: of the race.
    """
    counts = uniform_counts(finetune)
    if counts is None:
        return None
    raced = {name: value for name, value in diagnostics.get("uniform", {}).items() if value is not None}
    predicted = standing(raced.get("lead", math.nan), raced.get("lead_error", math.nan))
    trained = finetune["epochs"] > 0
    return outcome(counts.standing, counts.details, counts.interval(), predicted=predicted, trained=trained)
