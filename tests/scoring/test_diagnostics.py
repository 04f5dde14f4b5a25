"""Diagnostics against formulas written out, and each warning against what it is for."""

import itertools

import numpy as np
import pytest

from eyas.scoring.diagnostics import Probe, kendall_tau, make_probe, spread, stability, warnings_for
from tests.scoring.recorded import RecordedExecutor, run
from tests.scoring.test_recorded import FUSED, HELD_OUT, RUNGS

GOOD = {"not_finite": 0.0, "score_spread": 0.3, "paired_error": 0.03, "signal": 10.0, "tied_share": 0.0}
GOOD |= {"entered": [200, 50, 0, 8], "rank_stability": [0.9, 0.9]}


def tau_by_pairs(one, other):
    """Kendall's tau-b, pair by pair."""
    agree, first, second = 0, 0, 0
    for i, j in itertools.combinations(range(len(one)), 2):
        a, b = np.sign(one[i] - one[j]), np.sign(other[i] - other[j])
        agree, first, second = agree + a * b, first + a * a, second + b * b
    return agree / np.sqrt(first * second)


@pytest.mark.parametrize("digits", [1, 3])
def test_kendall_tau_is_the_count_over_pairs(digits):
    rng = np.random.default_rng(digits)
    one = rng.normal(size=30)
    other = (one + rng.normal(size=30)).round(digits)
    one = one.round(digits)
    assert kendall_tau(one, other) == pytest.approx(tau_by_pairs(one, other))
    assert kendall_tau(one, one) == pytest.approx(1)
    assert kendall_tau(one, -one) == pytest.approx(-1)
    assert np.isnan(kendall_tau(np.zeros(5), one[:5]))


def test_spread_counts_ties_among_what_is_finite():
    scores = np.array([1.0, 2.0, 2.0, 5.0, np.nan])
    numbers = spread(scores, np.array([0.1, 0.2, 0.3, 0.4, np.nan]), 0.5)
    assert numbers["score_spread"] == pytest.approx(np.std([1, 2, 2, 5]))
    assert numbers["median_standard_error"] == pytest.approx(0.25)
    assert numbers["signal"] == pytest.approx(np.std([1, 2, 2, 5]) / 0.5)
    assert numbers["tied_share"] == 0.5


def test_stability_compares_only_those_that_climbed():
    climb = {1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4}, {1: 1.0, 2: 2.0, 3: 3.0, 4: float("nan")}
    taus = stability([climb, ({1: 0.1}, {1: 0.2})])
    assert taus[0] == pytest.approx(1)
    assert np.isnan(taus[1])


def test_the_probe_is_paired():
    original = np.array([True] * 90 + [False] * 10)
    recalibrated = original.copy()
    recalibrated[:9] = False
    probe = make_probe(original, recalibrated, 10)
    gaps = recalibrated.astype(float) - original
    assert probe.original == 0.9
    assert probe.recalibrated == pytest.approx(0.81)
    assert probe.standard_error == pytest.approx(gaps.std(ddof=1) / 10)
    assert probe.deviations == pytest.approx(0.09 / probe.standard_error)
    assert probe.chance_error == pytest.approx(np.sqrt(0.1 * 0.9 / 100))
    assert make_probe(original, original, 10).deviations == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"score_spread": 0.0}, "scoring is at fault"),
        ({"score_spread": float("nan")}, "scoring is at fault"),
        ({"signal": 0.5}, "little signal"),
        ({"tied_share": 0.4}, "40% of the scores are ties"),
        ({"not_finite": 3.0}, "3 of 20 candidates have outputs that are not finite"),
        ({"rank_stability": [0.05, 0.9]}, "Kendall tau 0.05"),
    ],
)
def test_each_fault_is_said_in_words(change, words):
    (warning,) = warnings_for({**GOOD, **change}, None, 20)
    assert words in warning


def test_a_sound_race_has_no_warnings():
    assert not warnings_for({**GOOD, "rank_stability": [0.8, float("nan")]}, Probe(0.9, 0.89, 0.005), 20)


def test_a_probe_beyond_three_standard_errors_warns():
    (warning,) = warnings_for(GOOD, Probe(0.9, 0.8, 0.02), 20)
    assert "from 0.900 to 0.800, 5.0 standard errors" in warning


@pytest.mark.parametrize(("original", "warned"), [(0.1, True), (0.18, True), (0.2, False)])
def test_a_network_no_better_than_chance_warns(original, warned):
    """Of ten classes on a hundred images: 0.1 with a standard error of 0.03."""
    warnings = warnings_for(GOOD, Probe(original, original, 0.01, 0.1, 0.03), 20)
    assert [("no more than chance (10.0%)" in warning) for warning in warnings] == [True] * warned


def test_one_candidate_has_no_spread_to_judge():
    assert not warnings_for({**GOOD, "score_spread": 0.0, "entered": [1], "rank_stability": []}, None, 1)


def test_the_order_of_a_few_finalists_is_left_to_chance():
    assert not warnings_for({**GOOD, "rank_stability": [0.8, -0.1]}, None, 200)


def test_ranks_that_change_by_training_are_told_as_that():
    numbers = {**GOOD, "entered": [200, 50, 30], "rank_stability": [0.8, 0.1], "tied_share": 0.5}
    (warning,) = warnings_for({**numbers, "tied_share": 0.0}, None, 200, [False, False, True])
    assert "before and after training steps (Kendall tau 0.10): let more candidates" in warning
    (warning,) = warnings_for({**numbers, "tied_share": 0.0}, None, 200)
    assert "give the early rungs more images" in warning
    assert not warnings_for({**numbers, "rank_stability": [0.8, 0.5]}, None, 200, [True, True, True])


def test_no_false_alarm_on_recorded_races():
    """Sound by construction: an image order of each seed's own, sixty times, with few climbers and with many."""
    taus = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        executor = RecordedExecutor(rng.permutation(FUSED, axis=1), rng.permutation(HELD_OUT, axis=1))
        for keep in (0.25, 0.6):
            race, _ = run(executor, len(FUSED), [RUNGS[0].model_copy(update={"keep": keep}), *RUNGS[1:]])
            race_numbers = {"entered": race.entered, "rank_stability": stability(race.promotions)}
            taus += [tau for tau in race_numbers["rank_stability"] if np.isfinite(tau)]
            assert not warnings_for({**GOOD, **race_numbers}, None, len(FUSED))
    assert min(taus) < 0.2  # which judged by its face would be one


def test_pixels_of_one_image_are_one_image_to_the_probe():
    """Against the same answers given per image."""
    rng = np.random.default_rng(0)
    original, recalibrated = (np.repeat(rng.uniform(size=(40, 1)) < 0.8, 64, 1).reshape(40, 8, 8) for _ in range(2))
    assert make_probe(original, recalibrated, 5) == make_probe(original[:, 0, 0], recalibrated[:, 0, 0], 5)
