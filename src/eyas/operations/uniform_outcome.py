"""What became of the winner beside uniform widths, once both were fine-tuned alike (``finetune.compare_uniform``)."""

import math
from collections.abc import Mapping
from typing import Any

from eyas.operations.paired_counts import PairedCounts
from eyas.scoring.diagnosis import outcome, standing

PREFIX = "uniform_"
"""Of finetune's metrics of the network of uniform widths; gained are images that only the winner is right on."""


def uniform_counts(finetune: Mapping[str, float]) -> PairedCounts | None:
    """From uniform widths to the winner on the test images; None where only the winner was fine-tuned."""
    names = ("test_images", f"{PREFIX}test_gained", f"{PREFIX}test_lost")
    return PairedCounts(*(int(finetune[name]) for name in names)) if names[1] in finetune else None


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
    return outcome(counts.gained, counts.lost, counts.images, counts.interval(), predicted=predicted, trained=trained)
