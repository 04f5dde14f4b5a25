"""Whether a window of images could come from where the reference came from, at a stated rate of false alarms.

Shapes: M reference images, N images of the window, K classes.
"""

import math

import numpy as np
from numpy.typing import NDArray

from eyas.adaptation.scipy_members import scipy_member
from eyas.deploy.bundle.class_permutations import CHUNK, EXCEEDED
from eyas.errors import DataError

FEWEST_OF_A_CLASS = 20
"""Reference images that a class needs to stand for its own; images of rarer classes meet the whole reference."""
Counts = NDArray[np.int64]
Values = NDArray[np.float64]


def class_weights(reference_M: Counts, window_N: Counts) -> Values:
    """Weights ``(M,)``, summing to 1, that give the reference the window's mixture of predicted classes.

    What differs after that is no change of the class balance alone.
    """
    classes = int(max(reference_M.max(), window_N.max())) + 1
    own, wanted = (np.bincount(classes_of, minlength=classes) for classes_of in (reference_M, window_N))
    shares = wanted / len(window_N)
    known = own >= FEWEST_OF_A_CLASS
    by_class = np.where(known, shares / np.maximum(own, 1), 0.0)
    return np.asarray(by_class[reference_M] + shares[~known].sum() / len(reference_M))


def weighted_kolmogorov_smirnov(reference_M: Values, weights_M: Values, window_N: Values) -> tuple[float, float]:
    r"""Largest distance of two distribution functions, and how probable it is without a difference.

    The reference counts with weights as so many images as :math:`1 / \sum w^2` (Kish 1965), so that with N images of
    the window :math:`n = 1 / (1/N + \sum w^2)` stand behind the distance; its p-value is that of the one-sample test
    with n images. Where classes differ in the feature, the weights make the test err on the quiet side.

    Raises:
        DataError: there are no images on one side.
    """
    if not len(reference_M) or not len(window_N):
        msg = f"{len(reference_M)} reference values and {len(window_N)} of the window: give some of both"
        raise DataError(msg)
    values = np.concatenate([reference_M, window_N])
    steps = np.concatenate([-weights_M, np.full(len(window_N), 1 / len(window_N))])
    order = np.argsort(values, kind="stable")
    gaps = np.cumsum(steps[order])
    last_of_equals = np.append(values[order][1:] != values[order][:-1], True)
    distance = float(np.abs(gaps[last_of_equals]).max())
    effective = 1 / (1 / len(window_N) + float((weights_M**2).sum()))
    return distance, float(scipy_member("stats", "kstwo").sf(distance, max(1, math.floor(effective))))


def lower_mean_test(
    held_M: Values,
    held_classes_M: Counts,
    window_N: Values,
    window_classes_N: Counts,
    *,
    smallest: float,
    seed: int = 0,
) -> float:
    """P-value of a permutation test: whether a window's mean is lower than that of clean images of the same classes.

    Within each predicted class, images of the window and clean ones that were held back change places. Clean images of
    a class are exchangeable, so the p-value is valid for windows of any mixture of classes, and for few held-back
    images, too. Classes that are rare among these are one class together. Draws end early as in
    :func:`eyas.deploy.bundle.class_permutations.class_balance_test`.

    Args:
        held_M: a number for each clean image.
        held_classes_M: their predicted classes.
        window_N: the same of the window.
        window_classes_N: theirs.
        smallest: there are enough draws for p-values of this size.
        seed: of the draws.
    """
    frequent = np.flatnonzero(np.bincount(held_classes_M) >= FEWEST_OF_A_CLASS)
    held_of, window_of = (np.where(np.isin(of, frequent), of, -1) for of in (held_classes_M, window_classes_N))
    pools = [
        (np.concatenate([window_N[window_of == number], held_M[held_of == number]]), int((window_of == number).sum()))
        for number in np.unique(window_of)
    ]
    own = float(window_N.sum())
    random, exceeded, chunks = np.random.default_rng(seed), 0, math.ceil(2 / smallest / CHUNK)
    for chunk in range(1, chunks + 1):
        draws = np.zeros(CHUNK)
        for pool, count in pools:
            draws += random.permuted(np.tile(pool, (CHUNK, 1)), axis=1)[:, :count].sum(1)
        exceeded += int((draws <= own + 1e-9 * abs(own)).sum())
        if exceeded >= EXCEEDED:
            return exceeded / (chunk * CHUNK)
    return (exceeded + 1) / (chunks * CHUNK + 1)
