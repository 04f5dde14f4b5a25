import math
import re
from dataclasses import replace

import numpy as np
import pytest

from eyas.data.comparability import Comparability
from eyas.operations.gate import Gate
from eyas.operations.gates import PromotionDecision, judge
from eyas.operations.measured_network import MeasuredNetwork, churn, compare_answers
from eyas.operations.promote_params import PromoteParams

LABELS = np.arange(200) % 10


def answering(wrong: range, latency: float = 1.0, size: int = 1000) -> MeasuredNetwork:
    """Right everywhere but on these images."""
    answers = LABELS.copy()
    answers[list(wrong)] = (answers[list(wrong)] + 1) % 10
    return MeasuredNetwork(answers=answers, labels=LABELS, latency=latency, bytes=size)


DENSE = answering(range(4))
OPEN = PromoteParams(max_drop=None, require_parity=False, standard_errors=0.0, min_gain=-1.0)


def failed(
    params: PromoteParams, candidate: MeasuredNetwork, champion: MeasuredNetwork | None = None, *, parity: bool = True
) -> set[str]:
    gates, _ = judge(params, candidate, dense=DENSE, champion=champion, parity=parity)
    return {gate.name for gate in gates if not gate.passed}


def test_the_gain_and_what_it_is_at_worst_by_hand() -> None:
    # 8 images gained, 2 lost, out of 200; half an image in each cell: 202 images, 8.5 and 2.5.
    candidate, champion = answering(range(10, 14)), answering(range(2, 12))
    _, numbers = judge(PromoteParams(), candidate, dense=DENSE, champion=champion, parity=True)
    per_image = np.array([1.0] * 17 + [-1.0] * 5 + [0.0] * 382)  # every half image as one, 404 of them
    assert numbers["gain"] == pytest.approx(6 / 200)
    assert numbers["gain_low"] == pytest.approx(per_image.mean() - per_image.std() / math.sqrt(202))
    assert (numbers["gained"], numbers["lost"]) == (8, 2)
    assert churn(candidate, champion) == pytest.approx(10 / 200)


def test_gain_refuses_answers_to_other_images() -> None:
    other = MeasuredNetwork(answers=LABELS, labels=np.roll(LABELS, 1))
    with pytest.raises(ValueError, match="different test images"):
        compare_answers(answering(range(1)), other)


@pytest.mark.parametrize(
    ("name", "limit", "holding", "breaking"),
    [
        ("min_accuracy", 0.95, answering(range(10)), answering(range(11))),
        ("max_drop", 0.03, answering(range(10)), answering(range(11))),
        ("max_latency", 1.5, answering(range(1), latency=1.5), answering(range(1), latency=1.6)),
        ("max_bytes", 1000, answering(range(1), size=1000), answering(range(1), size=1001)),
    ],
)
def test_each_limit_alone(name: str, limit: float, holding: MeasuredNetwork, breaking: MeasuredNetwork) -> None:
    params = OPEN.model_copy(update={name: limit})
    assert failed(params, holding) == set()
    assert failed(params, breaking) == {name.split("_", 1)[1]}


def test_what_is_not_comparable_is_not_compared_with_the_dense_network() -> None:
    params = OPEN.model_copy(update={"max_drop": 0.5, "min_accuracy": 0.0})
    seen = Comparability(False, "the checkpoint may have seen them")
    gates, numbers = judge(params, DENSE, dense=DENSE, champion=None, parity=True, own=seen, both=seen)
    by_name = {gate.name: gate for gate in gates}
    assert by_name.keys() == {"accuracy", "comparable_with_dense"}
    assert not by_name["comparable_with_dense"].passed
    assert (
        "the checkpoint may have seen them; judge without it (promote.max_drop: null)"
        in by_name["comparable_with_dense"].reason
    )
    assert "on images that it may have seen" in by_name["accuracy"].reason
    assert numbers["comparable"] == 0
    assert not numbers.keys() & {"dense_accuracy", "gain", "churn"}
    page = PromotionDecision("net", "2", None, gates, numbers).markdown()
    assert f"accuracy {DENSE.accuracy:.4g} (not comparable)," in page
    assert "(not comparable)" not in decide().markdown()
    alone, _ = judge(OPEN, DENSE, dense=DENSE, champion=None, parity=True, own=seen, both=seen)
    assert alone == ()


def test_a_champion_that_saw_the_test_images_is_not_compared_with_but_the_dense_network_is() -> None:
    params = OPEN.model_copy(update={"max_drop": 0.5, "max_churn": 1.0})
    seen = Comparability(False, "net version 1 was made with 3 of the 200 test images")
    gates, numbers = judge(params, DENSE, dense=DENSE, champion=answering(range(50)), parity=True, both=seen)
    assert {gate.name: gate.passed for gate in gates} == {"drop": True, "comparable_with_champion": False}
    assert seen.reason in gates[-1].reason
    assert numbers["dense_accuracy"] == DENSE.accuracy
    assert not numbers.keys() & {"champion_accuracy", "gain", "gain_low", "gained", "lost", "churn"}


def test_a_dense_checkpoint_that_its_pruned_network_surely_beats_is_nothing_to_hold_it_against() -> None:
    params, weak = OPEN.model_copy(update={"max_drop": 0.05}), answering(range(30))

    def gates(limits: PromoteParams, dense: MeasuredNetwork, *, as_is: bool) -> tuple[Gate, ...]:
        return judge(limits, DENSE, dense=dense, champion=None, parity=True, taken_as_is=as_is)[0]

    drop, sound = gates(params, weak, as_is=True)
    assert (drop.passed, sound.name, sound.passed) == (True, "sound_dense", False)
    assert "26 gained, 0 lost of 200 test images" in sound.reason
    assert all(words in sound.reason for words in ("fetch.mean", "baseline.adapt_epochs", "promote.max_drop: null"))
    assert sound.value > sound.limit
    assert [gate.name for gate in gates(params, weak, as_is=False)] == ["drop"]
    assert gates(OPEN, weak, as_is=True) == ()
    near = gates(params, answering(range(8)), as_is=True)
    assert [gate.name for gate in near] == ["drop"]  # two points, which may be less


def test_parity_must_have_been_shown() -> None:
    params = OPEN.model_copy(update={"require_parity": True})
    assert failed(params, DENSE, parity=False) == {"parity"}
    assert failed(params, DENSE, parity=True) == set()


def test_churn_counts_against_the_champion_only() -> None:
    params = OPEN.model_copy(update={"max_churn": 0.02})
    candidate = answering(range(50, 60))
    assert failed(params, candidate) == set()
    assert failed(params, candidate, answering(range(50, 60))) == set()
    assert failed(params, candidate, answering(range(60, 70))) == {"churn"}


def test_gain_must_exceed_its_standard_error() -> None:
    strict = OPEN.model_copy(update={"min_gain": 0.0, "standard_errors": 2.0})
    champion = answering(range(20))
    assert failed(strict, answering(range(1)), champion) == set()  # 19 gained, none lost
    assert failed(strict, answering(range(19, 38)), champion) == {"gain"}  # 19 gained, 18 lost: noise
    assert failed(strict, answering(range(30)), champion) == {"gain"}
    assert failed(OPEN.model_copy(update={"min_gain": -0.06}), answering(range(30)), champion) == set()


def test_an_equal_candidate_is_not_better() -> None:
    same = answering(range(20))
    no_error = OPEN.model_copy(update={"min_gain": 0.0})
    assert failed(PromoteParams(max_drop=None), same, answering(range(20))) == {"gain"}
    assert failed(no_error, same, answering(range(20))) == {"gain"}  # gain, limit and standard error are all 0
    assert failed(no_error, answering(range(1, 21)), answering(range(20))) == {"gain"}  # as many right, other ones
    assert failed(no_error, answering(range(19)), answering(range(20))) == set()  # one image is better
    assert failed(OPEN.model_copy(update={"min_gain": -0.01}), same, answering(range(20))) == set()


@pytest.mark.parametrize("images", [49, 199, 1000])
def test_a_gain_at_its_limit_holds_whatever_the_last_bits_say(images: int) -> None:
    labels = np.zeros(images, dtype=np.int64)
    wrong = np.arange(images) < 7
    champion = MeasuredNetwork(answers=wrong.astype(np.int64), labels=labels)
    params = OPEN.model_copy(update={"min_gain": 7 / images})
    assert failed(params, MeasuredNetwork(answers=labels, labels=labels), champion) == set()
    params = OPEN.model_copy(update={"min_gain": 7.01 / images})
    assert failed(params, MeasuredNetwork(answers=labels, labels=labels), champion) == {"gain"}


def test_a_latency_that_is_no_number_does_not_pass() -> None:
    params = OPEN.model_copy(update={"max_latency": 1e9})
    assert failed(params, answering(range(1), latency=math.nan)) == {"latency"}


def decide(*, forced: str = "", wrong: int = 30) -> PromotionDecision:
    gates, numbers = judge(PromoteParams(), answering(range(wrong)), dense=DENSE, champion=None, parity=True)
    return PromotionDecision("eyas", "3", "2", gates, numbers, forced)


def test_decision_says_which_gate_refused_and_why() -> None:
    decision = decide()
    assert (decision.outcome, decision.promoted) == ("refused", False)
    words = "loss of accuracy against the dense network 13 points: allowed at most 5 points (promote.max_drop)"
    assert words in decision.message
    assert decision.as_dict()["numbers"]["accuracy"] == pytest.approx(0.85)


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({"min_accuracy": 0.9}, "test accuracy 85 %: needs at least 90 % (promote.min_accuracy)"),
        ({"max_latency": 0.5}, "median latency 1.25 ms: allowed at most 0.5 ms (promote.max_latency)"),
        ({"max_bytes": 9_000}, "size of the file 12,000 bytes: allowed at most 9,000 bytes (promote.max_bytes)"),
    ],
)
def test_each_refusal_has_its_unit_and_the_field_to_change(limit: dict[str, float], words: str) -> None:
    candidate = replace(answering(range(30), latency=1.25), bytes=12_000)
    gates, _ = judge(OPEN.model_copy(update=limit), candidate, dense=DENSE, champion=None, parity=True)
    assert [gate.reason for gate in gates if not gate.passed] == [words]


def test_a_dry_run_does_not_claim_to_have_decided() -> None:
    assert replace(decide(), dry_run=True).message.startswith("eyas version 3 would be refused (champion 2): loss")
    assert replace(decide(wrong=4), dry_run=True).message == (
        "eyas version 3 would be promoted (champion 2): every gate held"
    )
    assert "version 3 refused" in decide().message


def test_decision_as_a_table_has_every_gate_with_value_limit_and_reason() -> None:
    gate = Gate("same_task", 0.0, 1.0, False, "classes 'a|b' and\n'c'")
    decision = replace(decide(), gates=(*decide().gates, gate), dry_run=True)
    lines = decision.markdown().splitlines()
    rows = [re.split(r"(?<!\\) \| ", line.strip("| ")) for line in lines if line.startswith("|")]
    assert rows[0] == ["gate", "value", "limit", "passed", "reason"]
    assert [row[0] for row in rows[2:]] == ["parity", "drop", "same_task"]
    assert rows[3][:4] == ["drop", "0.13", "0.05", "**no**"]
    assert rows[2][3] == "yes"
    assert rows[4][4] == "classes 'a\\|b' and 'c'"
    assert decision.message.splitlines()[0][:60] in lines[2]
    assert any("accuracy" in line and "0.85" in line for line in lines)


def test_force_promotes_and_keeps_the_reason() -> None:
    decision = decide(forced="the test set is known to be mislabelled")
    assert (decision.outcome, decision.promoted, decision.passed) == ("forced", True, False)
    assert "mislabelled" in decision.message
    assert decide(forced="why not", wrong=4).outcome == "promoted"
