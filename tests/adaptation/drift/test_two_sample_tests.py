"""The tests against SciPy's own, and their rates of false alarms, which are the promise."""

import numpy as np
import pytest
from scipy.stats import chi2_contingency, ks_2samp

from eyas.adaptation.drift.two_sample_tests import class_weights, weighted_kolmogorov_smirnov
from eyas.deploy.bundle.class_permutations import class_balance_test
from eyas.errors import DataError


def test_equal_weights_give_the_two_sample_statistic() -> None:
    random = np.random.default_rng(0)
    reference, window = random.normal(size=2000).round(1), random.normal(0.3, size=80).round(1)  # with ties
    distance, p_value = weighted_kolmogorov_smirnov(reference, np.full(2000, 1 / 2000), window)
    expected = ks_2samp(reference, window)
    assert distance == pytest.approx(expected.statistic)
    assert p_value == pytest.approx(expected.pvalue, rel=0.15)


@pytest.mark.parametrize("skewed", [False, True])
def test_the_false_alarms_are_at_most_as_many_as_allowed(skewed: bool) -> None:
    """Also where the window has other classes, and classes differ in the number: that alone is no drift."""
    random = np.random.default_rng(1)
    classes = random.integers(0, 5, 3000)
    reference, alarms = random.normal(classes), 0
    for _ in range(600):
        own = random.choice(5, 64, p=[0.6, 0.1, 0.1, 0.1, 0.1] if skewed else None)
        alarms += weighted_kolmogorov_smirnov(reference, class_weights(classes, own), random.normal(own))[1] <= 0.05
    assert alarms <= 600 * 0.05 + 2 * (600 * 0.05 * 0.95) ** 0.5


def test_weights_give_the_windows_mixture_of_classes() -> None:
    reference, window = np.repeat([0, 1, 2], [100, 50, 5]), np.array([0, 0, 1, 2])
    weights = class_weights(reference, window)
    assert weights.sum() == pytest.approx(1)
    by_class = [weights[reference == one].sum() for one in range(3)]
    # five images are too few to stand for their class: its quarter is spread over all
    assert by_class == pytest.approx([0.5 + 0.25 * 100 / 155, 0.25 + 0.25 * 50 / 155, 0.25 * 5 / 155])
    assert class_weights(reference, np.array([7])).sum() == pytest.approx(1)


def test_the_permutation_test_agrees_with_chi_squared() -> None:
    reference, window = np.array([400, 300, 200, 100]), np.array([20, 30, 20, 10])
    distance, p_value = class_balance_test(reference, window)
    assert distance == pytest.approx(np.abs(reference / 1000 - window / 80).sum() / 2)
    assert p_value == pytest.approx(chi2_contingency([reference, window]).pvalue, rel=0.3)
    assert class_balance_test(reference, window) == (distance, p_value)


def test_a_sure_change_of_the_balance_is_as_improbable_as_asked() -> None:
    reference, window = np.array([500, 500, 0]), np.array([64, 0, 0])
    assert class_balance_test(reference, window, smallest=1e-3)[1] <= 1e-3
    assert class_balance_test(reference, reference // 8)[1] > 0.5


def test_an_empty_side_is_refused() -> None:
    with pytest.raises(DataError, match="0 of the window"):
        weighted_kolmogorov_smirnov(np.ones(3), np.ones(3) / 3, np.ones(0))
