"""The surrogate against explicit fits, and what it promises: equivariance, a fallback, no look at what is hidden."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from eyas.scoring.diagnostics import kendall_tau
from eyas.scoring.surrogate import FEWEST_VERDICTS, fit_surrogate, next_to_train

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(60, 6)) * [1, 100, 0.01, 1, 1, 1] + 5
UNTRAINED = FEATURES[:, 0] + RNG.normal(size=60)
TRUTH = 0.6 + 0.05 * FEATURES[:, 0] + 0.001 * FEATURES[:, 1] + 0.01 * RNG.normal(size=60)


def verdicts(count):
    return np.where(np.arange(60) < count, TRUTH, np.nan)


def test_it_predicts_what_it_was_not_told():
    surrogate = fit_surrogate(FEATURES, UNTRAINED, verdicts(20))
    hidden = slice(20, None)
    assert kendall_tau(surrogate.predictions[hidden], TRUTH[hidden]) > 0.8
    assert kendall_tau(UNTRAINED[hidden], TRUTH[hidden]) < 0.5
    errors = np.abs(surrogate.predictions - TRUTH)[hidden] / surrogate.deviations[hidden]
    assert 0.4 < np.mean(errors < 1) < 0.95


def ridge_of(surrogate, count):
    """Columns and strength of the ridge regression, about the mean, whose predictions the surrogate gives."""
    columns = np.column_stack([FEATURES, UNTRAINED])
    columns = np.column_stack([(columns - columns.mean(0)) / columns.std(0), np.ones(60)])
    mean, gaps = TRUTH[:count].mean(), {}
    for strength in np.geomspace(1e-3, 1e3, 2000):
        ridge = Ridge(alpha=strength, fit_intercept=False).fit(columns[:count], TRUTH[:count] - mean)
        gaps[strength] = np.abs(ridge.predict(columns) + mean - surrogate.predictions).max()
    best = min(gaps, key=gaps.get)
    return columns, best, gaps[best]


def test_it_is_a_ridge_regression():
    *_, gap = ridge_of(fit_surrogate(FEATURES, UNTRAINED, verdicts(30)), 30)
    assert gap < 1e-3 * TRUTH.std()


def test_leave_one_out_is_that_of_explicit_fits():
    surrogate = fit_surrogate(FEATURES, UNTRAINED, verdicts(12))
    columns, strength, _ = ridge_of(surrogate, 12)
    centred, left_out = TRUTH[:12] - TRUTH[:12].mean(), []
    for row in range(12):
        others = np.arange(12) != row
        ridge = Ridge(alpha=strength, fit_intercept=False).fit(columns[:12][others], centred[others])
        left_out.append(ridge.predict(columns[row][None])[0])
    assert surrogate.leave_one_out_tau == pytest.approx(kendall_tau(np.array(left_out), TRUTH[:12]))


@pytest.mark.parametrize("count", [0, 1, FEWEST_VERDICTS - 1])
def test_without_verdicts_the_order_is_that_before_training(count):
    surrogate = fit_surrogate(FEATURES, UNTRAINED, verdicts(count))
    np.testing.assert_array_equal(surrogate.predictions, UNTRAINED)
    assert np.isnan(surrogate.leave_one_out_tau)


def test_equal_verdicts_say_nothing():
    np.testing.assert_array_equal(fit_surrogate(FEATURES, UNTRAINED, verdicts(20) * 0 + 0.5).predictions, UNTRAINED)


def test_permuting_candidates_permutes_predictions():
    order = RNG.permutation(60)
    one = fit_surrogate(FEATURES, UNTRAINED, verdicts(20))
    other = fit_surrogate(FEATURES[order], UNTRAINED[order], verdicts(20)[order])
    np.testing.assert_allclose(other.predictions, one.predictions[order], rtol=1e-5)
    assert other.leave_one_out_tau == pytest.approx(one.leave_one_out_tau)


def test_units_of_features_and_verdicts_do_not_matter():
    one = fit_surrogate(FEATURES, UNTRAINED, verdicts(20))
    other = fit_surrogate(FEATURES * 1000 - 7, UNTRAINED, 100 * verdicts(20) + 3)
    np.testing.assert_allclose(other.predictions, 100 * one.predictions + 3, rtol=1e-5)


def test_a_constant_feature_changes_nothing_but_the_number_of_features():
    padded = np.column_stack([FEATURES, np.full(60, 3.0)])
    surrogate = fit_surrogate(padded, UNTRAINED, verdicts(20))
    np.testing.assert_allclose(
        surrogate.predictions, fit_surrogate(FEATURES, UNTRAINED, verdicts(20)).predictions, rtol=1e-4
    )


def test_leave_one_out_does_not_see_the_verdict():
    """Random verdicts cannot be predicted, however many features there are."""
    features = RNG.normal(size=(16, 14))
    taus = [fit_surrogate(features, features[:, 0], RNG.normal(size=16)).leave_one_out_tau for _ in range(30)]
    assert abs(np.mean(taus)) < 0.25


def test_expected_improvement_is_the_mean_of_what_exceeds():
    surrogate = fit_surrogate(FEATURES, UNTRAINED, verdicts(20))
    best = TRUTH[:20].max()
    draws = RNG.normal(surrogate.predictions, surrogate.deviations, (200_000, 60))
    sampled = np.maximum(draws - best, 0).mean(0)
    np.testing.assert_allclose(surrogate.expected_improvement(best), sampled, atol=3e-4)


def test_candidates_that_broke_are_left_out():
    broken = np.where(np.arange(60)[:, None] % 7 == 3, np.nan, FEATURES)
    whole = np.isfinite(broken).all(1)
    surrogate = fit_surrogate(broken, UNTRAINED, verdicts(20))
    alone = fit_surrogate(FEATURES[whole], UNTRAINED[whole], verdicts(20)[whole])
    assert np.isnan(surrogate.predictions[~whole]).all()
    np.testing.assert_allclose(surrogate.predictions[whole], alone.predictions, rtol=1e-6)
    assert surrogate.leave_one_out_tau == pytest.approx(alone.leave_one_out_tau)


def lost_after(rounds, seed, choose):
    """By how much the best of the trained is behind the best of all, four more trained in every round."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(200, 5))
    untrained = features[:, 0] + rng.normal(size=200)
    truth = features @ rng.normal(size=5) + 0.3 * rng.normal(size=200)
    known = np.full(200, np.nan)
    for _ in range(rounds):
        chosen = choose(features, untrained, known)
        known[chosen] = truth[chosen]
    assert np.isfinite(known).sum() == 4 * rounds
    return truth.max() - np.nanmax(known)


def test_whom_it_trains_next_are_better_than_those_of_the_untrained_order():
    def promising(features, untrained, known):
        return next_to_train(fit_surrogate(features, untrained, known), known, 4)

    def by_score(_, untrained, known):
        return np.argsort(np.where(np.isnan(known), -untrained, np.inf))[:4]

    losses = np.array([[lost_after(6, seed, choose) for seed in range(12)] for choose in (promising, by_score)])
    assert losses[0].mean() < losses[1].mean() / 3
    assert lost_after(1, 0, promising) == lost_after(1, 0, by_score)


def test_nobody_is_trained_twice_and_who_broke_is_trained_last():
    broken = np.where(np.arange(60)[:, None] == 30, np.nan, FEATURES)
    known = verdicts(20)
    chosen = next_to_train(fit_surrogate(broken, UNTRAINED, known), known, 60)
    assert sorted(chosen) == list(range(20, 60))
    assert chosen[-1] == 30
