"""One number, or the class balance, of a window of images against those of the reference.

Shapes: M reference images, N images of the window.
"""

import numpy as np
from numpy.typing import NDArray

from eyas.adaptation.drift.class_balance import BalanceEstimate, estimate_balance
from eyas.adaptation.drift.drift_reference import DriftReference
from eyas.adaptation.drift.drift_report import BalanceDrift, NumberDrift
from eyas.adaptation.drift.observation import Observation
from eyas.adaptation.drift.two_sample_tests import weighted_kolmogorov_smirnov
from eyas.deploy.bundle.class_permutations import class_balance_test

SMALLEST_DISTANCE = 0.1
"""Of distribution functions: less is no drift, however surely a very large window tells it."""


def number_drift(
    name: str,
    clean_M: NDArray[np.float64],
    weights_M: NDArray[np.float64],
    here_N: NDArray[np.float64],
    allowed: tuple[int, float],
    *,
    p_value: float | None = None,
) -> NumberDrift:
    """One number; ``allowed`` are the tests there are and the rate of false alarms in all.

    Without a ``p_value`` that another test gave it is that of the distribution functions.
    """
    tests, rate = allowed
    distance, of_distance = weighted_kolmogorov_smirnov(clean_M, weights_M, here_N)
    mean = float(clean_M @ weights_M)
    deviation = float((clean_M - mean) ** 2 @ weights_M) ** 0.5
    smallest = float(np.finfo(np.float32).tiny)
    effect = (float(here_N.mean()) - mean) / max(deviation, 1e-6 * abs(mean), smallest)
    adjusted = min(1.0, (of_distance if p_value is None else p_value) * tests)
    drifted = adjusted <= rate and distance >= SMALLEST_DISTANCE
    return NumberDrift(name=name, effect=effect, distance=distance, p_value=adjusted, drifted=drifted)


def balance_drift(seen: Observation, reference: DriftReference, allowed: tuple[int, float], seed: int) -> BalanceDrift:
    """The class balance; ``allowed`` as for :func:`number_drift`."""
    tests, rate = allowed
    counts = seen.counts.numpy()
    distance, p_value = class_balance_test(reference.counts, counts, smallest=rate / tests, seed=seed)
    estimate = BalanceEstimate(None, "the reference was made without labels")
    if reference.confusion is not None:
        estimate = estimate_balance(reference.confusion, counts)
    adjusted = min(1.0, p_value * tests)
    return BalanceDrift(
        reference=tuple((reference.counts / reference.counts.sum()).tolist()),
        predicted=tuple((counts / counts.sum()).tolist()),
        estimated=estimate.shares,
        reason=estimate.reason,
        distance=distance,
        p_value=adjusted,
        drifted=adjusted <= rate and distance >= SMALLEST_DISTANCE,
    )
