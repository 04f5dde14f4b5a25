"""What is told of an adapted version beside its gates: what it loses where images are as in training."""

import math
from collections.abc import Iterable, Iterator, Mapping

from eyas.data.tasks import Task
from eyas.operations.gate import Gate, percent

ADAPTATION = "adaptation"
"""The gate that adapted versions alone have."""
MENTIONED_LOSS = 0.02
"""A share of accuracy on clean images that an adapted version does not lose without a word."""
HELD = "every gate held"


def is_adapted(gates: Iterable[Gate]) -> bool:
    """Whether the gates are those of an adapted version."""
    return any(gate.name == ADAPTATION for gate in gates)


def held_words(gates: Iterable[Gate]) -> str:
    """That every gate held; of an adapted version, what that does not mean."""
    return f"{HELD}; those of an adapted version allow a loss on images as in training" if is_adapted(gates) else HELD


def is_mentioned(numbers: Mapping[str, float]) -> bool:
    """Whether more is lost on test images than goes without a word."""
    return any(was - now > MENTIONED_LOSS for _, _, was, now in _clean(numbers))


def clean_words(numbers: Mapping[str, float]) -> str:
    """What the version is worth on test images, beside what it would replace; empty where that was not measured."""
    sentences = [
        f"on test images, which are not of the field, {words} is {percent(now)}, that of the {before} {percent(was)}"
        + (": so much is lost where images become as before" if was - now > MENTIONED_LOSS else "")
        for words, before, was, now in _clean(numbers)
    ]
    return "; ".join(sentences)


def _clean(numbers: Mapping[str, float]) -> Iterator[tuple[str, str, float, float]]:
    """What decides in words, who is beside it, and both values: the champion's, else the dense network's, first."""
    for task in Task.members().values():
        now = numbers.get(task.measure, math.nan)
        known = {"champion": f"champion_{task.measure}", "dense network": f"dense_{task.measure}"}
        before = next((name for name, number in known.items() if number in numbers), None)
        if before is not None and math.isfinite(now):
            yield task.words, before, numbers[known[before]], now
