"""Soft-NMS: what a detector's overlapping boxes are worth, on the device's processor, behind the network.

The ONNX operator NonMaxSuppression knows the hard kind alone, so this is no part of an exported file. NumPy is all it
needs.

N boxes.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eyas.errors import ParameterError

Floats = NDArray[np.floating[Any]]


def soft_nms(
    boxes_N4: Floats,
    scores_N: Floats,
    *,
    decay: Literal["gaussian", "linear"] = "gaussian",
    sigma: float = 0.5,
    threshold: float = 0.3,
    min_score: float = 0.001,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    r"""Lower the scores of boxes of one class by how far better ones overlap them (Bodla et al. 2017, 1704.04503).

    The best box is taken; each other's score :math:`s` becomes :math:`s\,e^{-o^2 / \sigma}` (``gaussian``, equation 3),
    or :math:`s\,(1 - o)` where the overlap :math:`o` (intersection over union) is ``threshold`` or more (``linear``,
    section 3); and so on with those that are left. Nothing is dropped but by its score in the end. As ``sigma`` goes to
    0 this is the hard kind, which drops whatever overlaps at all; 0 itself is taken as that limit.

    Args:
        boxes_N4: corners ``(x0, y0, x1, y1)``, ``(N, 4)``.
        scores_N: between 0 and 1, ``(N,)``.
        decay: how overlap counts.
        sigma: of ``gaussian``.
        threshold: of ``linear``.
        min_score: boxes whose score has fallen below it are left out.

    Returns:
        positions of the boxes that are left and their scores, best first; equal ones by position.

    Raises:
        ParameterError: shapes do not fit, numbers are not finite, or a setting makes no sense.

    Example::

        kept, scores = soft_nms(boxes, scores)
    """
    boxes, scores = np.asarray(boxes_N4, np.float64), np.array(scores_N, np.float64)
    _check(boxes, scores, decay=decay, sigma=sigma, threshold=threshold)
    order, left = list[int](), np.ones(len(scores), bool)
    for _ in range(len(scores)):
        best = int(np.argmax(np.where(left, scores, -np.inf)))
        order.append(best)
        left[best] = False
        overlap_M = intersection_over_union(boxes[best], boxes[left])
        if decay == "linear":
            scores[left] *= np.where(overlap_M >= threshold, 1 - overlap_M, 1.0)
        elif sigma:
            scores[left] *= np.exp(-np.square(overlap_M) / sigma)
        else:
            scores[left] *= overlap_M == 0
    kept = [position for position in order if scores[position] >= min_score]
    return np.array(kept, np.int64), scores[kept]


def intersection_over_union(box_4: NDArray[np.float64], boxes_N4: NDArray[np.float64]) -> NDArray[np.float64]:
    """Overlap of a box with others, ``(N,)``; 0 of boxes without an area."""
    low, high = np.maximum(box_4[:2], boxes_N4[:, :2]), np.minimum(box_4[2:], boxes_N4[:, 2:])
    shared_N = np.clip(high - low, 0, None).prod(1)
    union_N = _area(box_4[None]) + _area(boxes_N4) - shared_N
    overlap_N: NDArray[np.float64] = np.divide(shared_N, union_N, out=np.zeros_like(shared_N), where=union_N > 0)
    return overlap_N


def _area(boxes_N4: NDArray[np.float64]) -> NDArray[np.float64]:
    sides_N2 = np.clip(boxes_N4[:, 2:] - boxes_N4[:, :2], 0, None)
    return np.asarray(sides_N2.prod(1), np.float64)


def _check(boxes_N4: Floats, scores_N: Floats, *, decay: str, sigma: float, threshold: float) -> None:
    if boxes_N4.shape != (len(scores_N), 4) or scores_N.ndim != 1:
        msg = f"boxes of shape {boxes_N4.shape} and scores of {scores_N.shape}: give (N, 4) and (N,)"
        raise ParameterError(msg)
    if not (np.isfinite(boxes_N4).all() and np.isfinite(scores_N).all()):
        raise ParameterError("boxes or scores are not finite: look at the network's outputs")
    if decay not in {"gaussian", "linear"} or sigma < 0 or not 0 <= threshold <= 1:
        msg = (
            f"decay {decay!r}, sigma {sigma}, threshold {threshold}: give gaussian with a sigma of 0 or more, or "
            "linear with a threshold between 0 and 1"
        )
        raise ParameterError(msg)
