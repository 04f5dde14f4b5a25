"""What an adapted version must hold in place of what is asked of others."""

import json

import numpy as np
import pytest

from eyas.config import parse_params
from eyas.operations.decision_lines import decision_lines
from eyas.operations.gate import Gate, at_least, at_most, percent
from eyas.operations.gates import PromotionDecision, judge
from eyas.operations.measured_network import MeasuredNetwork
from eyas.operations.tracking import Version
from eyas.operations.tracking.adaptation_run import ADAPTED_FROM, parent_of
from tasks.adapted_gates import ADAPTATION, adaptation_gates, gain_words, limits_for, named_for
from tasks.next_command import text_with_steps

PLAIN = Version("net", "1")
RECORD = {"keep": True, "images": 300, "verdict": "keep: all is well"}
ADAPTED = Version("net", "2", {ADAPTED_FROM: "net/1", ADAPTATION: json.dumps(RECORD)})


def test_any_other_version_is_judged_by_promote_alone() -> None:
    params = parse_params({"promote": {"max_drop": 0.02, "preset": "better"}})
    assert limits_for(PLAIN, params) == params.promote
    assert adaptation_gates(PLAIN) == ()
    assert parent_of(PLAIN) is None


def test_an_adapted_one_may_lose_on_test_images_what_its_canary_may_and_keeps_the_other_limits() -> None:
    params = parse_params(
        {"promote": {"preset": "better", "max_bytes": 7}, "adapt": {"rule": {"max_canary_loss": 0.3}}}
    )
    limits = limits_for(ADAPTED, params)
    assert (limits.max_drop, limits.min_gain, limits.rule) == (0.3, -0.3, None)
    assert (limits.min_agreement, limits.max_bytes) == (0.7, 7)
    assert parent_of(ADAPTED) == ("net", "1")


def test_a_limit_that_promote_leaves_out_stays_out() -> None:
    limits = limits_for(ADAPTED, parse_params({"promote": {"max_drop": None, "min_agreement": None}}))
    assert (limits.max_drop, limits.min_agreement) == (None, None)


LOSES = (
    "an adapted version may lose up to 75 points on test images, which are not of the field "
    "(adapt.rule.max_canary_loss)"
)


def judged(version: Version, right: int) -> dict[str, Gate]:
    """Gates over 100 images, of which dense network and champion know 90, as ``promote`` words them for a version."""
    labels = np.zeros(100, np.int64)
    dense, candidate = (MeasuredNetwork(np.arange(100) >= known, labels) for known in (90, right))
    limits = limits_for(version, parse_params({"promote": {"preset": None, "min_gain": 0.0, "max_drop": 0.05}}))
    gates, _ = judge(limits, candidate, dense=dense, champion=dense, parity=True)
    return {gate.name: gate for gate in named_for(version, gates)}


@pytest.mark.parametrize(("right", "passed"), [(60, True), (5, False)])
def test_what_an_adapted_version_may_lose_is_told_with_its_field_and_why(right: int, passed: bool) -> None:
    gates = judged(ADAPTED, right)
    assert (gates["drop"].passed, gates["gain"].passed) == (passed, passed)
    assert gates["drop"].reason == f"loses {90 - right} points of accuracy against the dense network: {LOSES}"
    assert gates["gain"].reason.startswith(f"loses {90 - right} points against the champion (")
    assert f"standard error lower): {LOSES}{'' if passed else ', misses it by'}" in gates["gain"].reason
    assert gates["gain"].reason.endswith(LOSES) == passed
    for gate in gates.values():
        assert "promote." not in gate.reason
        assert "needs at least \N{MINUS SIGN}" not in gate.reason


def test_any_other_version_is_told_the_limits_of_promote() -> None:
    gates = judged(PLAIN, 60)
    assert gates["drop"].reason.endswith(": allowed at most 5 points (promote.max_drop)")
    assert gates["gain"].reason.endswith("(promote.min_gain)")


def test_agreement_and_a_limit_of_its_own() -> None:
    agreement = at_least("agreement", 0.2, 0.25, "it agrees", field="min_agreement", shown=percent)
    size = at_most("bytes", 9, 7, "it is", field="max_bytes", shown=str)
    assert [gate.reason for gate in named_for(ADAPTED, (agreement, size))] == [
        f"it agrees 20 %: {LOSES}", "it is 9: allowed at most 7 (promote.max_bytes)",
    ]  # fmt: skip


def test_the_caution_comes_before_the_command_that_promotes() -> None:
    (gate,) = adaptation_gates(ADAPTED)
    decision = PromotionDecision("net", "2", "1", (gate,), {"images": 9, "accuracy": 0.4, "champion_accuracy": 0.9,
                                                            "bytes": 1, "latency": 1})  # fmt: skip
    text = text_with_steps(decision_lines(decision), ["eyas promote --version 2"])
    assert 0 <= text.index("caution") < text.index("net version 2") < text.index("next ")


def test_gates_go_on_below_their_words_on_a_narrow_terminal() -> None:
    gates = tuple(Gate(name, 1, 1, passed, "it says more than a line holds " * 4) for name, passed in
                  (("cost_as_recorded", True), ("drop", False)))  # fmt: skip
    lines = decision_lines(PromotionDecision("net", "2", None, gates, {}))[1:]
    shown = text_with_steps(lines, [], 80).split("\n")
    assert max(map(len, shown)) <= 80
    assert [line[:5] for line in shown] == ["ok   ", " " * 5, "FAIL ", " " * 5]
    assert all(line[5] != " " for line in shown)
    assert text_with_steps(lines, []).split("\n") == lines


def test_what_the_rule_said_is_a_gate() -> None:
    (gate,) = adaptation_gates(ADAPTED)
    assert gate.passed
    assert gate.reason == "on 300 images of the field the rule said keep: all is well"
    refused = {**ADAPTED.tags, ADAPTATION: json.dumps({**RECORD, "keep": False})}
    assert not adaptation_gates(Version("net", "2", refused))[0].passed


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({}, "what it gains in the field was not measured, since no image there had a label"),
        (
            {"labelled": True, "field_accuracy": [0.42, 0.95], "by_labels": True},
            "labels decided: on 300 images of the field accuracy is 95 %, 42 % without adaptation (53 points won)",
        ),
        (
            {"labelled": True, "field_accuracy": [0.5, 0.48], "by_labels": False},
            "labels were too few to decide: on 300 images of the field accuracy is 48 %, 50 % without adaptation "
            "(2 points lost)",
        ),
        ({"labelled": True}, "images of the field had labels"),
    ],
)
def test_whether_the_gain_in_the_field_is_known_is_told(record: dict[str, object], told: str) -> None:
    assert gain_words(Version("net", "2", {**ADAPTED.tags, ADAPTATION: json.dumps(RECORD | record)})) == told
    assert gain_words(PLAIN) == ""
