"""Soft-NMS: its limits are what they should be, its steps those of the formulas, written as loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eyas.deploy.soft_nms import intersection_over_union, soft_nms
from eyas.errors import ParameterError


def boxes_and_scores(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 10, (count, 2))
    return np.hstack([corners, corners + random.uniform(1, 6, (count, 2))]), (random.permutation(count) + 1) / count


def iou(one, other) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return float(shared / (area - shared))


def hard_nms(boxes, scores, threshold: float) -> list[int]:
    """Greedy: best first, each dropped where it overlaps one that was kept by more than ``threshold``."""
    kept: list[int] = []
    for position in np.argsort(-scores, kind="stable").tolist():
        if all(iou(boxes[position], boxes[other]) <= threshold for other in kept):
            kept.append(position)
    return kept


def by_hand(boxes, scores, factor) -> dict[int, float]:
    left, result = dict(enumerate(scores.tolist())), {}
    while left:
        best = max(left, key=lambda position: (left[position], -position))
        result[best] = left.pop(best)
        left = {position: score * factor(iou(boxes[best], boxes[position])) for position, score in left.items()}
    return result


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sigma", [0.0, 1e-9])
def test_as_sigma_goes_to_0_it_is_hard_nms_at_threshold_0(seed: int, sigma: float) -> None:
    boxes, scores = boxes_and_scores(30, seed)
    kept, after = soft_nms(boxes, scores, sigma=sigma)
    assert kept.tolist() == hard_nms(boxes, scores, 0.0)
    np.testing.assert_array_equal(after, scores[kept])


def test_as_sigma_grows_nothing_changes() -> None:
    boxes, scores = boxes_and_scores(30)
    kept, after = soft_nms(boxes, scores, sigma=1e12)
    assert kept.tolist() == np.argsort(-scores).tolist()
    np.testing.assert_allclose(after, np.sort(scores)[::-1])


@pytest.mark.parametrize("decay", ["gaussian", "linear"])
def test_no_box_is_dropped_but_by_its_score_in_the_end(decay) -> None:
    boxes, scores = boxes_and_scores(40)
    everything, after = soft_nms(boxes, scores, decay=decay, min_score=0.0)
    assert sorted(everything.tolist()) == list(range(40))
    some, scores_of_some = soft_nms(boxes, scores, decay=decay, min_score=0.2)
    assert some.tolist() == everything[after >= 0.2].tolist()
    np.testing.assert_array_equal(scores_of_some, after[after >= 0.2])


@pytest.mark.parametrize(
    ("options", "factor"),
    [
        ({"sigma": 0.5}, lambda overlap: math.exp(-(overlap**2) / 0.5)),
        ({"decay": "linear", "threshold": 0.3}, lambda overlap: 1 - overlap if overlap >= 0.3 else 1.0),
        ({"decay": "linear", "threshold": 0.0}, lambda overlap: 1 - overlap),
    ],
)
def test_scores_fall_as_the_formula_says(options, factor) -> None:
    boxes, scores = boxes_and_scores(25)
    kept, after = soft_nms(boxes, scores, min_score=0.0, **options)
    assert dict(zip(kept.tolist(), after.tolist(), strict=True)) == pytest.approx(by_hand(boxes, scores, factor))
    assert (np.diff(after) <= 0).all()


def test_a_twin_of_the_best_is_worth_what_is_left_of_it() -> None:
    box = np.array([[0.0, 0, 2, 2]] * 2)
    assert soft_nms(box, np.array([0.9, 0.8]))[1].tolist() == pytest.approx([0.9, 0.8 * math.exp(-2)])
    assert soft_nms(box, np.array([0.9, 0.8]), decay="linear")[1].tolist() == [0.9]  # 0.8 * (1 - 1) is below any limit


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 12), st.integers(0, 1000))
def test_scores_never_rise_and_boxes_apart_keep_theirs(count: int, seed: int) -> None:
    boxes, scores = boxes_and_scores(count, seed)
    kept, after = soft_nms(boxes, scores, min_score=0.0)
    assert (after <= scores[kept] + 1e-12).all()
    for position, score in zip(kept.tolist(), after.tolist(), strict=True):
        if not any(iou(boxes[position], boxes[other]) for other in range(count) if other != position):
            assert score == scores[position]


def test_overlap_of_boxes_without_area_is_none() -> None:
    flat = np.array([[1.0, 1, 1, 3], [3, 3, 2, 2]])
    assert intersection_over_union(np.array([0.0, 0, 4, 4]), flat).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("boxes", "scores", "options", "words"),
    [
        (np.zeros((3, 4)), np.zeros(2), {}, r"\(N, 4\) and \(N,\)"),
        (np.full((1, 4), np.nan), np.zeros(1), {}, "not finite"),
        (np.zeros((1, 4)), np.zeros(1), {"sigma": -1}, "sigma -1"),
        (np.zeros((1, 4)), np.zeros(1), {"decay": "hard"}, "decay 'hard'"),
        (np.zeros((1, 4)), np.zeros(1), {"decay": "linear", "threshold": 2.0}, "threshold 2.0"),
    ],
)
def test_what_makes_no_sense_is_refused(boxes, scores, options, words) -> None:
    with pytest.raises(ParameterError, match=words):
        soft_nms(boxes, scores, **options)
