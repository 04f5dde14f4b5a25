"""How often each class really occurs among unlabelled images: black-box shift estimation (BBSE).

Lipton et al. 2018, arXiv:1802.03916, with the regularisation of Azizzadenesheli et al. 2019, arXiv:1903.09734. The one
assumption is that only the balance changed: images of one class look as they did.

Shapes: K classes; a confusion matrix has true classes in its rows, predicted ones in its columns.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eyas.adaptation.scipy_members import scipy_member

Counts = NDArray[np.int64]
Shares = NDArray[np.float64]
FEWEST_LABELS = 10
"""Labelled images that each class needs."""


@dataclass(frozen=True)
class BalanceEstimate:
    """Shares of the true classes among the images."""

    shares: tuple[float, ...] | None
    """None where they cannot be told."""
    reason: str = ""
    """Why not."""


def confusion_matrix(labels_N: Counts, predicted_N: Counts, classes: int) -> Counts:
    """Counts ``(K, K)`` of labelled images."""
    return np.bincount(labels_N * classes + predicted_N, minlength=classes**2).reshape(classes, classes)


def estimate_balance(confusion_KK: Counts, predicted_K: Counts) -> BalanceEstimate:
    r"""Shares :math:`q \ge 0` of the true classes with :math:`C^T q = \mu`, near the known shares where noise is large.

    :math:`C_{ij} = P(\hat y = j | y = i)` from labelled images, :math:`\mu` the shares of the predictions. The change
    :math:`q - p` is estimated by non-negative least squares with a ridge of :math:`K / N`, the noise of
    :math:`\mu`: the fewer images, the nearer to the known shares.

    Args:
        confusion_KK: of labelled images that the network was not trained on.
        predicted_K: how often each class was predicted among the unlabelled.
    """
    nnls = scipy_member("optimize", "nnls")
    per_class, images = confusion_KK.sum(1), int(predicted_K.sum())
    rare = np.flatnonzero(per_class < FEWEST_LABELS)
    if len(rare):
        reason = f"class {rare[0]} has {per_class[rare[0]]} labelled images, {FEWEST_LABELS} are needed"
        return BalanceEstimate(None, reason)
    rates_KK = confusion_KK / per_class[:, None]
    known = per_class / per_class.sum()
    smallest = float(np.linalg.svd(rates_KK, compute_uv=False)[-1])
    noise = float(np.sqrt(len(known) / per_class.sum()))
    if smallest <= noise:
        reason = (
            f"the network confuses classes too much: the smallest singular value of its confusion matrix is "
            f"{smallest:.2g}, its sampling noise {noise:.2g}"
        )
        return BalanceEstimate(None, reason)
    shares = predicted_K / images
    ridge = np.sqrt(len(known) / images) * np.eye(len(known))
    solution, _ = nnls(np.vstack([rates_KK.T, ridge]), np.concatenate([shares, ridge @ known]))
    if not solution.sum() > 0:
        return BalanceEstimate(None, "no balance of classes explains the predictions")
    return BalanceEstimate(tuple(float(share) for share in solution / solution.sum()))
