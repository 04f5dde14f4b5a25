"""What a budget may limit, by name, and which limits make sense together."""

import re
from collections.abc import Mapping, Sequence

METRICS = ("macs", "params", "activation_bytes")
"""Costs that the search space itself knows."""
LIMITS = (*METRICS, "file_bytes", "latency_ms", "latency")
"""What a budget may limit; ``latency`` is ``latency_ms`` as a share of the dense network's."""


def limit_problem(values: Mapping[str, float]) -> str:
    """Why positive limits, by name, make no sense together; nothing where they do."""
    share = values.get("latency", 0)
    if share > 1:
        return f"latency {share:g} is no share of the dense network's; for milliseconds give latency_ms: {share:g}"
    if "latency" in values and "latency_ms" in values:
        return "latency and latency_ms limit the same: give one of them"
    counts = [f"{name} {values[name]}" for name in _counts(values) if values[name] > 1 and values[name] % 1]
    if counts:
        return f"{counts[0]} is neither a share of the dense cost, up to 1, nor a whole number"
    return ""


def not_a_number(name: str, text: str) -> str:
    """What to give for a limit that was written as a text, such as ``50%``."""
    percent = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", text)
    share = float(percent[1]) / 100 if percent else 0
    if 0 < share < 1:
        other = "latency: " if name == "latency_ms" else ""
        return f"no number: for {share * 100:g} % give {other}{share:g}"
    example = "milliseconds such as 4" if name == "latency_ms" else "a share of the dense cost such as 0.5"
    return f"no number: give {example}"


def _counts(names: Mapping[str, float]) -> Sequence[str]:
    """The limits that are shares up to 1 and counts above."""
    return [name for name in names if not name.startswith("latency")]
