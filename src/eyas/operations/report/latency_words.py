"""What measured times of dense and pruned network are worth, in words: runs, spread, and what is within the noise."""

from collections.abc import Mapping
from typing import Any

from eyas.operations.run_times import RunTimes

NOISY = 2.0
"""A 95th percentile that is so many times its median tells of the machine, not of the network."""
BUSY, WITHIN_NOISE = "machine was busy", "within the noise"
"""In the place of a ratio."""
_NAMES = {"dense": "dense", "model": "pruned"}


def run_times(latency: Mapping[str, Any]) -> tuple[RunTimes, RunTimes]:
    """Of the dense and of the pruned network, from ``latency.json``."""
    return RunTimes.of(latency["milliseconds"]["dense"]), RunTimes.of(latency["milliseconds"]["model"])


def speed_cells(latency: Mapping[str, Any]) -> dict[str, str]:
    """How many times faster the pruned network is, by ``median`` and by ``p95``, or why that is not told."""
    times = latency["milliseconds"]
    cells = {key: speed(times["dense"][key], times["model"][key]) for key in ("median", "p95")}
    dense, pruned = run_times(latency)
    if dense.overlaps(pruned):
        cells["median"] = WITHIN_NOISE
    return cells | ({"p95": BUSY} if noisy(latency) else {})


def latency_note(latency: Mapping[str, Any]) -> str:
    """How times were measured, how far they spread, and what they do not tell."""
    note = (
        f"Latency: {latency['runs']} runs of each in turns, in {latency['runtime']}, {threads(latency)}, "
        f"batch {latency['batch']}, on {latency['cpu']} ({latency['cores']} cores)"
    )
    dense, pruned = run_times(latency)
    if dense.spread:
        note += f"; the middle half of the runs took {_halves(latency)}"
    if dense.overlaps(pruned):
        note += f", which overlap: which network is faster is {WITHIN_NOISE}"
    return f"{note}. {_busy(latency).capitalize()}, and {_what_compares(latency)}." if noisy(latency) else f"{note}."


def latency_doubts(latency: Mapping[str, Any]) -> list[str]:
    """What a terminal says below the table, a line each; nothing where times are beyond doubt."""
    dense, pruned = run_times(latency)
    lines = []
    if dense.overlaps(pruned):
        told = f"{speed(dense.median, pruned.median)} is {WITHIN_NOISE}"
        lines.append(f"latency: {told}: the middle half of {latency['runs']} runs took {_halves(latency)}")
    if noisy(latency):
        lines.append(f"latency: {_busy(latency)}; eyas bench times the files again")
    return lines


def speed(dense: float, pruned: float) -> str:
    """How many times faster, or slower: fewer MACs are not always less time."""
    return f"{dense / pruned:.2f} x faster" if pruned <= dense else f"{pruned / dense:.2f} x slower"


def threads(latency: Mapping[str, Any]) -> str:
    """How many, in words."""
    return f"{latency['threads']} thread{'' if latency['threads'] == 1 else 's'}"


def noisy(latency: Mapping[str, Any]) -> bool:
    """Whether a 95th percentile, of ``latency.json``, lies so far from its median that a ratio would tell nothing."""
    times = latency["milliseconds"]
    return any(times[name]["p95"] > NOISY * times[name]["median"] for name in _NAMES)


def _halves(latency: Mapping[str, Any]) -> str:
    named = zip(_NAMES.values(), run_times(latency), strict=True)
    return " and ".join(f"{times.spread} ({name})" for name, times in named)


def held_up(milliseconds: Mapping[str, float], runs: int) -> str:
    """That the slowest runs of one network tell of the machine."""
    ratio = milliseconds["p95"] / milliseconds["median"]
    return f"one in twenty of {runs} runs took {ratio:.1f} medians or more: the machine was busy"


def _busy(latency: Mapping[str, Any]) -> str:
    """Of the network whose runs were held up most."""
    both = (latency["milliseconds"][name] for name in _NAMES)
    return held_up(max(both, key=lambda one: one["p95"] / one["median"]), latency["runs"])


def _what_compares(latency: Mapping[str, Any]) -> str:
    """What runs on a busy machine tell all the same: medians whose middle halves lie apart."""
    dense, pruned = run_times(latency)
    if dense.surely_faster_than(pruned) or pruned.surely_faster_than(dense):
        return "95th percentiles do not compare; the medians do, since the middle halves do not overlap"
    return "a ratio of such runs tells nothing"
