"""Costs, and the range of them that candidates reach, in words."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eyas.sampling.budget import Limit


def range_in_words(limit: "Limit", least: float, most: float, reason: str) -> str:
    """A limit, its band and the range in reach."""
    numbers = max(limit.low, 0), limit.high, limit.target, least, most
    low, high, target, first, last = (number_in_words(n) for n in numbers)
    return (
        f"{limit.metric} of {target} (band {low} to {high}; the dense network has {last}): reachable is "
        f"{first} to {last}{reason}"
    )


def share_above(share: float) -> str:
    """A share in three digits, rounded up: it is in reach."""
    step = 10 ** (math.floor(math.log10(share)) - 2) if share > 0 else 1.0
    return f"{math.ceil(share / step) * step:.3g}"


def number_in_words(value: float) -> str:
    """Counts whole, milliseconds with four digits."""
    return f"{value:,.0f}" if value >= 1000 or value == round(value) else f"{value:.4g}"
