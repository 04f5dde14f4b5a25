"""One rule of a promotion: its value, its limit, whether it held, and in which words."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Gate:
    """One rule and how it went."""

    name: str
    value: float
    limit: float
    passed: bool
    reason: str


def at_least(name: str, value: float, limit: float, words: str) -> Gate:
    """A rule that a value must reach."""
    return Gate(
        name, float(value), float(limit), not_above(limit, value), f"{words} {value:.4g}: needs at least {limit:g}"
    )


def at_most(name: str, value: float, limit: float, words: str) -> Gate:
    """A rule that a value must not exceed."""
    return Gate(
        name, float(value), float(limit), not_above(value, limit), f"{words} {value:.4g}: allowed at most {limit:g}"
    )


def not_above(low: float, high: float) -> bool:
    """Whether ``low <= high``, where the last bits of a difference of shares do not count."""
    return low <= high or math.isclose(low, high, abs_tol=1e-9)
