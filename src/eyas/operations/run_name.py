"""What a run is called where people look for it: by its profile and its budget, as in ``eyas-digits · 50 % MACs``."""

from collections.abc import Mapping

_UNSPEAKING = ("default", "params")
"""Names of the checkout's own profile, and of one that only overrides it."""
_BUDGET = "sample.budget"
_WORDS = {
    "macs": "MACs",
    "params": "parameters",
    "activation_bytes": "activations",
    "file_bytes": "file",
    "latency": "latency",
}
_UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def run_name(profile: str, model: str, limits: Mapping[str, float]) -> str:
    """The name of a run.

    Args:
        profile: file and overrides; those of the budget are left out, for the budget says the same, others come last,
            where a list of runs may cut them.
        model: what is registered; it stands for a profile whose file says nothing.
        limits: of the budget, by metric.
    """
    first, *overrides = profile.split("+")
    others = ", ".join(item for item in overrides if not item.startswith(_BUDGET))
    return " · ".join(filter(None, (model if first in _UNSPEAKING else first, budget_words(limits), others)))


def budget_words(limits: Mapping[str, float]) -> str:
    """A budget in words: ``50 % MACs``, ``4 ms, 200 k parameters``."""
    return ", ".join(_limit(metric, value) for metric, value in limits.items())


def _limit(metric: str, value: float) -> str:
    if metric == "latency_ms":
        return f"{value:g} ms"
    if value <= 1:
        return f"{100 * value:g} % {_WORDS[metric]}"
    size, unit = next(((size, unit) for size, unit in _UNITS if value >= size), (1.0, ""))
    return f"{value / size:.3g} {unit}{'B ' if metric.endswith('_bytes') else ' ' if unit else ''}{_WORDS[metric]}"
