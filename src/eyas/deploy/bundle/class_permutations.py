"""Whether classes are as frequent as among clean images, by permutation.

A bundle carries this file, so that a device judges as the revert rule does; it needs numpy alone. K classes.
"""

import math

import numpy as np
from numpy.typing import NDArray

CHUNK, EXCEEDED = 500, 20
"""Permutations at a time, and how many that are as unbalanced as the window end them early."""
Counts = NDArray[np.int64]


def class_balance_test(
    reference_K: Counts, window_K: Counts, *, smallest: float = 1e-4, seed: int = 0
) -> tuple[float, float]:
    """Total variation between the shares of predicted classes, and the p-value of the permutation test.

    The window's images are drawn anew from window and reference together (counts are multivariate hypergeometric), and
    the chi-squared distances compared. Draws end early where enough exceed the window's, which keeps the p-value valid
    (Besag and Clifford 1991).

    Args:
        reference_K: predictions of clean images.
        window_K: predictions of the window's.
        smallest: there are enough draws for p-values of this size.
        seed: of the draws.
    """
    distance = float(np.abs(reference_K / reference_K.sum() - window_K / window_K.sum()).sum() / 2)
    pooled, images = reference_K + window_K, int(window_K.sum())
    expected = np.maximum(pooled * images / pooled.sum(), 1e-12)

    def unbalance(counts: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(((counts - expected) ** 2 / expected).sum(-1))

    random, own, exceeded = np.random.default_rng(seed), float(unbalance(window_K)), 0
    chunks = math.ceil(2 / smallest / CHUNK)
    for chunk in range(1, chunks + 1):
        draws = random.multivariate_hypergeometric(pooled, images, size=CHUNK, method="marginals")
        exceeded += int((unbalance(draws) >= own * (1 - 1e-9)).sum())
        if exceeded >= EXCEEDED:
            return distance, exceeded / (chunk * CHUNK)
    return distance, (exceeded + 1) / (chunks * CHUNK + 1)
