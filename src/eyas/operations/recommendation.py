"""Which exported file a device should get, by what was measured there, and why."""

from collections.abc import Mapping
from dataclasses import dataclass

from eyas.operations.run_times import RunTimes

REFERENCE = "model"
"""The pruned network in float32 ONNX, which another format has to beat."""


@dataclass(frozen=True)
class MeasuredArtifact:
    """One exported file of the pruned network, as it was measured."""

    accuracy: float
    """On the test images."""
    times: RunTimes
    bytes: int


@dataclass(frozen=True)
class Recommendation:
    """A file, and why it is this one."""

    name: str
    reason: str
    others: dict[str, str]
    """What each other one is beside float32 ONNX, in words."""


def recommend(
    artifacts: Mapping[str, MeasuredArtifact], max_accuracy_drop: float, measure: str = "accuracy"
) -> Recommendation:
    """The fastest file within ``max_accuracy_drop`` of float32 ONNX; that one unless another is surely faster.

    Args:
        artifacts: by name, :data:`REFERENCE` among them; measured side by side.
        max_accuracy_drop: largest loss of accuracy that is allowed.
        measure: what accuracies are here, in words.
    """
    reference = artifacts[REFERENCE]
    words = {
        name: _beside(one, reference, max_accuracy_drop, measure)
        for name, one in artifacts.items()
        if name != REFERENCE
    }
    able = {
        name: one
        for name, one in artifacts.items()
        if _holds(one, reference, max_accuracy_drop) and one.times.surely_faster_than(reference.times)
    }
    if not able:
        reason = f"no other format is surely faster at an {measure} within the limit" if words else "the only format"
        return Recommendation(REFERENCE, reason, words)
    name = min(able, key=lambda name: (able[name].times.median, able[name].bytes))
    return Recommendation(name, words.pop(name), words)


def _holds(one: MeasuredArtifact, reference: MeasuredArtifact, limit: float) -> bool:
    return one.accuracy >= reference.accuracy - limit - 1e-9


def _beside(one: MeasuredArtifact, reference: MeasuredArtifact, limit: float, measure: str) -> str:
    """Speed, accuracy and size against float32 ONNX."""
    ratio = reference.times.median / one.times.median
    speed = f"{ratio:.2f} x faster" if ratio >= 1 else f"{1 / ratio:.2f} x slower"
    speed += " than float32 ONNX"
    if one.times.overlaps(reference.times):
        halves = f"the middle half of the runs took {one.times.spread}, of float32 ONNX {reference.times.spread}"
        speed = f"as fast as float32 ONNX within the noise ({halves})"
    change = 100 * (one.accuracy - reference.accuracy)
    beyond = "" if _holds(one, reference, limit) else f" (more than the {100 * limit:g} allowed)"
    size = one.bytes / reference.bytes
    points = f"{change:+.2f}".replace("-", "\N{MINUS SIGN}")
    return f"{speed}, {measure} {points} points{beyond}, {size:.2f} x its size"
