"""What a budget may limit, by name, and which limits make sense together."""

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


def _counts(names: Mapping[str, float]) -> Sequence[str]:
    """The limits that are shares up to 1 and counts above."""
    return [name for name in names if not name.startswith("latency")]
