"""Racing on numbers made up or recorded."""

import numpy as np
import pytest

from eyas.scoring.race.rungs import DEFAULT_RUNGS, Rung, fit_rungs
from eyas.scoring.race.top_candidates import TopCandidates
from tests.scoring.recorded import RecordedExecutor, measurement, run


def image_scores(quality, images, seed, *, shared=1.0, own=1.0):
    """Per-image scores: a candidate's quality, an image's difficulty, and noise of their own."""
    rng = np.random.default_rng(seed)
    return (
        np.asarray(quality)[:, None] + shared * rng.normal(size=images) + own * rng.normal(size=(len(quality), images))
    )


RUNGS = (Rung(images=64, keep=0.5), Rung(images=256, keep=3), Rung(images=512, calibration_images=256, mode="held_out"))


def test_each_rung_keeps_the_best_share_or_number():
    table = image_scores(np.linspace(0, 1, 40), 512, 0)
    race, result = run(RecordedExecutor(table, table), 40, RUNGS)
    assert race.entered == [40, 20, 3]
    best = set(np.argsort(-table[:, :64].mean(1))[:20])
    assert set(np.flatnonzero(result.rung >= 1)) == best
    finalists = sorted(best, key=lambda c: -table[c, :256].mean())[:3]
    assert set(np.flatnonzero(result.rung == 2)) == set(finalists)
    assert result.winner == max(finalists, key=lambda c: table[c].mean())


def test_a_leader_beyond_doubt_goes_to_the_last_rung_alone():
    quality = np.zeros(40)
    quality[17] = 3
    table = image_scores(quality, 512, 1)
    race, result = run(RecordedExecutor(table, table), 40, RUNGS, stop_margin=5)
    assert race.decided_early
    assert race.entered == [40, 0, 1]
    assert result.winner == 17
    assert result.rung[17] == 2
    assert result.images.tolist() == [512 if c == 17 else 64 for c in range(40)]


def test_without_a_clear_leader_no_rung_is_skipped():
    table = image_scores(np.zeros(40), 512, 2)
    race, _ = run(RecordedExecutor(table, table), 40, RUNGS, stop_margin=5)
    assert not race.decided_early
    assert race.entered == [40, 20, 3]


def test_the_margin_is_paired_on_images():
    rng = np.random.default_rng(3)
    difficulty = 10 * rng.normal(size=400)
    first, second = difficulty + 0.5 + rng.normal(size=400), difficulty + rng.normal(size=400)
    top = TopCandidates()
    top.add(0, measurement(first))
    top.add(1, measurement(second))
    gaps = first.astype(np.float32) - second.astype(np.float32).astype(float)
    assert top.margin() == pytest.approx(gaps.mean() / (gaps.std(ddof=1) / 20), rel=1e-4)
    assert top.margin() > 4
    assert top.paired_error() == pytest.approx(gaps.std(ddof=1) / 20, rel=1e-4)
    assert top.paired_error() < 0.02 * difficulty.std()


def test_one_contender_has_no_paired_error():
    top = TopCandidates()
    top.add(0, measurement(np.arange(10)))
    assert np.isnan(top.paired_error())


def test_equal_contenders_have_no_margin():
    top = TopCandidates()
    top.add(0, measurement(np.arange(10)))
    top.add(1, measurement(np.arange(10)))
    assert top.margin() == 0


def test_contenders_do_not_depend_on_the_order_of_arrival():
    table = image_scores(np.round(np.linspace(0, 1, 60), 1), 50, 4).round(1)
    margins, kept = set(), set()
    for seed in range(5):
        top = TopCandidates(8)
        order = np.random.default_rng(seed).permutation(60)
        for candidate in order:
            top.add(int(candidate), measurement(table[candidate]))
        margins.add(top.margin())
        kept.add(tuple(sorted(-entry[1] for entry in top._heap)))
    assert len(margins) == len(kept) == 1


def test_nan_never_climbs_past_a_number():
    table = image_scores(np.linspace(0, 1, 10), 512, 5)
    table[6:] = np.nan
    _, result = run(RecordedExecutor(table, table), 10, RUNGS)
    assert result.winner < 6
    assert set(result.rank[6:]) == {7, 8, 9, 10}


def test_copies_share_the_row_of_their_original():
    table = image_scores(np.linspace(0, 1, 6), 512, 6)
    executor = RecordedExecutor(table, table)
    _, result = run(executor, 6, RUNGS[:1], original=np.array([0, 1, 0, 3, 3, 5]))
    assert executor.images == 4 * 64
    assert result.score[2] == result.score[0]
    assert result.score[4] == result.score[3]


def test_rungs_fit_what_images_there_are():
    fitted = fit_rungs(DEFAULT_RUNGS, calibration=143, scoring=215)
    fused = Rung(images=215, keep=8)  # of the first two, which would see the same images, the second
    assert fitted == (fused, Rung(images=215, calibration_images=143, mode="held_out"))


@pytest.mark.parametrize("trial", range(3))
def test_a_race_costs_a_third_and_finds_a_winner_as_good(trial):
    """Simulated: 60 trials a seed; the recorded ones are in test_recorded.py."""
    good = 0
    for seed in range(60 * trial, 60 * (trial + 1)):
        rng = np.random.default_rng(seed)
        held_out = image_scores(rng.normal(0, 0.3, 150), 4096, seed, own=0.8)
        fused = held_out[:, :1024] + rng.normal(0, 0.02, (150, 1))
        executor = RecordedExecutor(fused, held_out)
        _, result = run(executor, 150, DEFAULT_RUNGS)
        full = held_out.mean(1)
        error = held_out[full.argmax()].std() / 4096**0.5
        good += full[result.winner] >= full.max() - error
        assert executor.images <= 150 * DEFAULT_RUNGS[-1].cost() / 3
    assert good >= 57
