"""Each branch of the rule, in its order."""

import pytest

from eyas.adaptation.drift.drift_report import BalanceDrift, LayerDrift, NumberDrift
from eyas.adaptation.drift.expected_help import expect_help


def number(name: str, drifted: bool) -> NumberDrift:
    return NumberDrift(name=name, effect=1, distance=0.5, p_value=0, drifted=drifted)


def layers(*factors: float) -> tuple[LayerDrift, ...]:
    return tuple(LayerDrift(name="bn", symmetric_kl=0.1 * one, mean_shift=0, clean_kl=0.1) for one in factors)


def balance(drifted: bool = False, largest: float = 0.5) -> BalanceDrift:
    shares = {"reference": (0.5, 0.5), "predicted": (largest, 1 - largest), "estimated": None, "reason": ""}
    return BalanceDrift(**shares, distance=0, p_value=0, drifted=drifted)


NOISE, ANSWERS, QUIET = number("noise", True), number("entropy", True), number("noise", False)


@pytest.mark.parametrize(
    ("numbers", "seen", "classes", "images", "adapt", "told"),
    [
        ([QUIET], layers(9), balance(), 128, False, "nothing drifted"),
        ([NOISE], (), balance(), 128, False, "no batch-norm layers"),
        ([QUIET], layers(9), balance(True), 128, False, "other classes are more frequent"),
        ([ANSWERS], layers(9), balance(True), 128, False, "other classes are more frequent"),
        ([NOISE], layers(9), balance(), 32, False, "32 images are few, collect at least 64"),
        ([NOISE], layers(9), balance(True, 0.9), 128, False, "90% of the images are taken for one class"),
        ([NOISE], layers(1, 1.5, 9), balance(), 128, False, "1.5 times the divergence of clean images"),
        ([NOISE], layers(1, 3, 9), balance(True), 128, True, "3 times the divergence of clean images"),
        ([ANSWERS], layers(9), balance(), 128, True, "9 times the divergence of clean images"),
    ],
)
def test_the_first_that_applies_decides(numbers, seen, classes, images: int, adapt: bool, told: str) -> None:
    helps, advice = expect_help(numbers, seen, classes, images)
    assert helps == adapt
    assert told in advice
    assert advice.startswith("adaptation is expected to help" if adapt else "do not adapt")
    assert ("the revert rule decides, by limits of its own" in advice) is adapt
    assert ("worth a try to 80%" in advice) is ("taken for one class" in told)
