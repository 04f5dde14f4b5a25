"""What a race says in words: one sentence per case, and none where there is nothing to say."""

import re

import numpy as np
import pytest

from eyas.operations.paired_counts import PairedCounts
from eyas.scoring.diagnosis import DEVIATIONS, advice, diagnose, outcome, prediction, standing
from eyas.scoring.race.score_table import ScoreTable

UNIFORM = {"candidate": 0, "score": -0.9, "accuracy": 0.6, "rung": 1, "rank": 20, "lead_images": 4096}
SOUND = {"at_chance": 0.0, "entered": [200, 50, 8], "rank_stability": [0.8, 0.4]}
RUNGS = [{"images": 256}, {"images": 4096, "mode": "held_out"}]
INTERVAL = (-0.01, 0.03)


def table(rungs=RUNGS, **diagnostics):
    columns = np.zeros(1), np.zeros(1), np.zeros(1), np.zeros(1), np.zeros(1, int), np.zeros(1, int), np.ones(1, int)
    return ScoreTable(*columns, settings={"rungs": rungs}, diagnostics=SOUND | diagnostics)


@pytest.mark.parametrize(
    ("lead", "error", "words"),
    [
        (
            0.031,
            0.01,
            "is predicted to beat uniform widths: it scores 0.031 more on the same 4,096 images, 3.1 stan",
        ),
        (0.029, 0.01, "it is undecided whether the winner beats uniform widths: it scores 0.029 more .* 2.9 standard"),
        (
            -0.02,
            0.01,
            "it is undecided .* it scores 0.02 less .* 2.0 standard errors .* more than 3 would decide",
        ),
        (
            -0.04,
            0.01,
            "to stay behind .* 0.04 less .* they left the race on rung 2: give `rungs` more images",
        ),
        (0.5, 0.0, "is predicted to beat uniform widths: .* inf standard errors"),
        (0.0, 0.0, "it is undecided .* 0 more .* 0.0 standard errors"),
        (float("nan"), float("nan"), "uniform widths have no finite score"),
        (None, None, "uniform widths have no finite score"),  # as JSON holds it
    ],
)
def test_the_winner_beside_uniform_widths(lead, error, words):
    text = prediction({**UNIFORM, "lead": lead, "lead_error": error})
    assert re.search(words, text), text


def test_where_there_is_nobody_to_beat():
    assert prediction(UNIFORM) == "the winner keeps uniform widths: no other candidate is predicted to beat them"
    assert prediction(None) == "uniform widths were not raced, so that nothing is predicted of them"
    assert "no uniform widths meet `budget`" in prediction(None, uniform_in_band=False)


def test_a_lead_is_judged_by_its_own_standard_error():
    assert [standing(lead, 1.0) for lead in (DEVIATIONS, DEVIATIONS + 0.01, -DEVIATIONS, -DEVIATIONS - 0.01)] == [
        "undecided", "ahead", "undecided", "behind",
    ]  # fmt: skip


def test_no_advice_where_scores_are_sound():
    assert not list(advice(0.5, SOUND, refitted=False))
    assert not list(
        advice(0.5, {name: value for name, value in SOUND.items() if name != "at_chance"}, refitted=False)
    )  # no labels


@pytest.mark.parametrize(
    ("share", "change", "reason"),
    [
        (0.5, {"at_chance": 0.62}, "62% of the candidates answer no better than chance before training"),
        (0.25, {}, "where it was measured they ordered networks well at half of the MACs, and badly at a quarter"),
        (0.5, {"rank_stability": [0.1, 0.4]}, "(Kendall tau 0.10)"),
    ],
)
def test_each_reason_for_doubt_gives_the_same_advice(share, change, reason):
    text, beside = advice(share, SOUND | change, refitted=False)
    assert text.startswith(f"at {share:.0%} of the MACs scores of untrained networks may not predict")
    assert reason in text
    assert text.count(";") == 0  # no other reason
    assert text.endswith(" in some with a few training steps, and train the winner longer or in several cuts")
    assert beside == "train uniform widths beside the winner (`uniform`), which tells whether it beats them"


def test_a_diagnosis_is_a_prediction_and_the_advice_there_is():
    ahead = UNIFORM | {"lead": 0.4, "lead_error": 0.01}
    (line,) = diagnose(table(uniform=ahead), macs_share=0.5, uniform_in_band=True)
    assert line == prediction(ahead)
    lines = diagnose(table(uniform=ahead, at_chance=0.6), macs_share=0.25, uniform_in_band=True)
    assert lines == (prediction(ahead), *advice(0.25, SOUND | {"at_chance": 0.6}, refitted=False))
    assert diagnose(table(), macs_share=0.5, uniform_in_band=False) == (prediction(None, uniform_in_band=False),)


@pytest.mark.parametrize(("share", "doubted"), [(0.5, False), (0.25, False), (0.125, True)])
def test_refitted_candidates_are_doubted_below_what_was_measured(share, doubted):
    rungs = [{"images": 512, "steps": 0}, {"images": 1024, "steps": 0}]
    _, *lines = diagnose(table(rungs), macs_share=share, uniform_in_band=True)
    assert bool(lines) is doubted
    assert not any("Refit candidates" in line for line in lines)


def test_a_race_that_ends_in_training_is_not_doubted():
    rungs = [*RUNGS, {"images": 1024, "steps": 10}]
    assert len(diagnose(table(rungs, at_chance=0.9), macs_share=0.125, uniform_in_band=True)) == 1


def told(gained, lost):
    counts = PairedCounts(2000, gained, lost)
    return counts.standing, counts.details


@pytest.mark.parametrize(
    ("counts", "interval", "predicted", "words"),
    [
        (
            (120, 79),
            (0.005, 0.035),
            "ahead",
            ["beats uniform widths: it answers 41 more of 2", ", as predicted"],
        ),
        ((120, 79), (0.005, 0.035), "undecided", ["beats uniform widths"]),
        ((79, 120), (-0.035, -0.005), "ahead", ["stays behind", "41 fewer", "at this budget they do not predict for"]),
        ((79, 120), (-0.035, -0.005), "behind", ["stays behind", ", as predicted"]),
        (
            (90, 79),
            (-0.01, 0.02),
            "ahead",
            ["it is undecided whether", "11 more of 2,000 test images right (90"],
        ),
    ],
)
def test_what_became_of_it(counts, interval, predicted, words):
    text = outcome(*told(*counts), interval, predicted=predicted)
    assert text.startswith("after the same fine-tuning ")
    assert all(part in text for part in words), text
    assert ("predicted" in text) == any("predict" in part for part in words)
    assert "interval \N{MINUS SIGN}1.00 to +2.00 points" in outcome(*told(90, 79), (-0.01, 0.02), predicted=predicted)


def test_what_was_not_trained_is_told_as_such():
    assert outcome(*told(3, 1), INTERVAL, predicted="undecided", trained=False).startswith("without fine-tuning it is")
