"""One rule of a promotion: its value, its limit, whether it held, and in which words."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from eyas.data.comparability import Comparability


@dataclass(frozen=True)
class Gate:
    """One rule and how it went."""

    name: str
    value: float
    limit: float
    passed: bool
    reason: str


def at_least(name: str, value: float, limit: float, words: str, *, field: str, shown: Callable[[float], str]) -> Gate:
    """A rule that a value must reach.

    Args:
        name: of the gate.
        value: what was measured.
        limit: what is asked for.
        words: what was measured, in words.
        field: of the section ``promote``, which sets the limit.
        shown: a value with its unit.
    """
    passed = not_above(limit, value)
    just = "just under " if not passed and shown(value) == shown(limit) else ""
    reason = f"{words} {just}{shown(value)}: needs at least {shown(limit)} (promote.{field})"
    return Gate(name, float(value), float(limit), passed, reason)


def at_most(name: str, value: float, limit: float, words: str, *, field: str, shown: Callable[[float], str]) -> Gate:
    """A rule that a value must not exceed; the arguments are those of :func:`at_least`."""
    passed = not_above(value, limit)
    just = "just over " if not passed and shown(value) == shown(limit) else ""
    reason = f"{words} {just}{shown(value)}: allowed at most {shown(limit)} (promote.{field})"
    return Gate(name, float(value), float(limit), passed, reason)


def not_compared(name: str, other: str, why: Comparability, way: str) -> Gate:
    """A comparison that would not be true is not made, and does not hold.

    Args:
        name: of the gate.
        other: with whose accuracy it is not compared.
        why: what speaks against it.
        way: what to do.
    """
    return Gate(name, 0.0, 1.0, False, f"its accuracy is not compared with that of {other}: {why.reason}; {way}")


def percent(share: float) -> str:
    """A share in percent."""
    return f"{100 * share:.4g} %"


def points(share: float) -> str:
    """A difference of shares in percentage points."""
    text = f"{100 * share:.2f}".rstrip("0").rstrip(".")
    return f"{text} point{'' if text == '1' else 's'}".replace("-", "\N{MINUS SIGN}")


def not_above(low: float, high: float) -> bool:
    """Whether ``low <= high``, where the last bits of a difference of shares do not count."""
    return low <= high or math.isclose(low, high, abs_tol=1e-9)
