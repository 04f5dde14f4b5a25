"""One number of a window: the p-value counts for as many tests as there are."""

import numpy as np
import pytest

from eyas.adaptation.drift.window_tests import number_drift


@pytest.mark.parametrize(("tests", "drifted"), [(1, True), (2, True), (11, False)])
def test_the_p_value_is_multiplied_by_the_number_of_tests(tests: int, drifted: bool) -> None:
    clean, here = np.linspace(0, 1, 200), np.linspace(0.4, 1.4, 50)
    weights = np.full(200, 1 / 200)
    told = number_drift("brightness", clean, weights, here, (tests, 0.01), p_value=0.004)
    assert told.p_value == pytest.approx(0.004 * tests)
    assert told.drifted is drifted
    assert number_drift("brightness", clean, weights, here, (tests, 0.01), p_value=0.9).p_value == min(1, 0.9 * tests)
    own = [number_drift("brightness", clean, weights, here, (count, 0.01)).p_value for count in (1, tests)]
    assert own[1] == pytest.approx(tests * own[0])
