"""A decision for a person: numbers, gates, and words that do not contradict the verdict."""

import re

import pytest

from eyas.operations.adapted_decision import ADAPTATION
from eyas.operations.decision_lines import decision_lines
from eyas.operations.gate import Gate
from eyas.operations.gates import PromotionDecision

NUMBERS = {
    "images": 300.0, "accuracy": 0.9833, "dense_accuracy": 0.9867, "champion_accuracy": 0.97, "macs": 1_528_160.0,
    "bytes": 152_000.0, "latency": 0.0495,
}  # fmt: skip
HELD, MISSED = Gate("parity", 1, 1, True, "it agrees"), Gate("drop", 0.1, 0.05, False, "it lost 10 points")


def test_numbers_are_those_that_the_gates_saw_and_each_gate_has_a_line() -> None:
    decision = PromotionDecision("net", "2", "1", (HELD, MISSED), NUMBERS)
    assert decision_lines(decision)[1:] == [
        "test accuracy 98.33 % (dense network 98.67 %, champion 97 %) on 300 images, 1.53 M MACs, 152 kB, 0.0495 ms",
        "ok   parity: it agrees",
        "FAIL drop: it lost 10 points",
    ]


@pytest.mark.parametrize(
    ("verdict", "gates", "words"),
    [
        ("undecided", (HELD,), "its verdict is undecided: .* the loss as it was measured, and allow it"),
        ("lost", (HELD,), "its verdict is no success: .* the gates allow as much"),
        ("held", (HELD,), "its verdict is that accuracy held, with remarks"),
        ("success", (HELD, MISSED), "its verdict is a success, .* the gates ask for more"),
    ],
)
def test_where_verdict_and_gates_differ_it_is_said_why(verdict: str, gates: tuple[Gate, ...], words: str) -> None:
    assert re.match(words, decision_lines(PromotionDecision("net", "2", "1", gates, NUMBERS, verdict=verdict))[-1])


ADAPTED = Gate(ADAPTATION, 1, 1, True, "the rule said keep")


def test_an_adapted_version_that_loses_on_clean_images_is_told_first_and_in_two_numbers() -> None:
    lost = NUMBERS | {"accuracy": 0.412}
    first, second, *_ = decision_lines(PromotionDecision("net", "2", "1", (ADAPTED,), lost))
    assert first.startswith("caution: on test images, which are not of the field, accuracy is 41.2 %, that of the ")
    assert "champion 97 %" in first
    assert second.startswith("net version 2 promoted")
    without = {name: value for name, value in lost.items() if name != "champion_accuracy"}
    assert "dense network 98.67 %" in decision_lines(PromotionDecision("net", "2", None, (ADAPTED,), without))[0]
    for gates, numbers in (((HELD,), lost), ((ADAPTED,), NUMBERS), ((ADAPTED,), {})):
        assert "caution" not in "".join(decision_lines(PromotionDecision("net", "2", "1", gates, numbers)))


def test_the_record_of_an_adapted_version_says_what_it_costs_what_it_gains_and_the_way_back() -> None:
    lost, gain = NUMBERS | {"accuracy": 0.412}, "what it gains in the field was not measured"
    decision = PromotionDecision("net", "2", "1", (ADAPTED,), lost, field_gain=gain)
    assert decision.summary.endswith(
        ": every gate held; those of an adapted version allow a loss on images as in training"
    )
    for told in (decision.message, decision.markdown(), decision.as_dict()["message"], decision_lines(decision)[0]):
        for words in ("accuracy is 41.2 %", "champion 97 %", gain, "`eyas rollback` goes back to version 1"):
            assert words in told
    assert decision.message == f"{decision.summary}; {decision.beside}"
    first = PromotionDecision("net", "2", None, (ADAPTED,), lost, field_gain=gain)
    assert "rollback" not in first.message, "there is nothing to go back to"
    refused = PromotionDecision("net", "2", "1", (ADAPTED, MISSED), lost, field_gain=gain)
    assert refused.message.endswith(": it lost 10 points")
    kept = decision_lines(PromotionDecision("net", "2", "1", (ADAPTED,), NUMBERS, field_gain=gain))
    assert gain in kept[0], "also where little is lost"
    plain = PromotionDecision("net", "2", "1", (HELD,), lost)
    assert plain.message == "net version 2 promoted (champion 1): every gate held"


@pytest.mark.parametrize(("verdict", "gates"), [("success", (HELD,)), ("undecided", (HELD, MISSED)), ("lost", ())])
def test_where_they_agree_nothing_is_added(verdict: str, gates: tuple[Gate, ...]) -> None:
    lines = decision_lines(PromotionDecision("net", "2", "1", gates, {}, verdict=verdict))
    assert not any("verdict" in line for line in lines)
