"""The difference of two mean IoUs: its error against a bootstrap, its interval against many draws."""

import math

import numpy as np
import pytest
import torch

from eyas.data.tasks import class_overlap, mean_iou
from eyas.operations.measured_network import MeasuredNetwork, churn, compare_answers
from eyas.operations.paired_counts import PairedCounts
from eyas.operations.paired_difference import recorded
from eyas.operations.paired_estimate import PairedEstimate

K = 3


def population(images: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Overlaps of two networks with the same labels; images differ in difficulty, the second network is better."""
    random = np.random.default_rng(seed)
    labels = torch.from_numpy(random.integers(0, K, (images, 6, 6)))
    hard = random.beta(1, 4, (images, 1, 1))
    overlaps = []
    for skill in (1.0, 0.8):
        wrong = torch.from_numpy(random.random((images, 6, 6)) < skill * hard)
        answers = torch.where(wrong, (labels + 1) % K, labels)
        overlaps.append(class_overlap(answers, labels, K))
    return overlaps[0], overlaps[1]


def test_the_difference_is_that_of_the_mean_ious() -> None:
    first, second = population(50)
    estimate = PairedEstimate.of(first, second)
    assert estimate.difference == pytest.approx(mean_iou(second) - mean_iou(first))
    assert estimate.images == 50
    mirrored = PairedEstimate.of(second, first)
    assert (mirrored.difference, mirrored.error) == pytest.approx((-estimate.difference, estimate.error))


def test_its_error_is_that_of_a_bootstrap_over_images() -> None:
    first, second = population(60)
    random = np.random.default_rng(1)
    drawn = [torch.from_numpy(random.integers(0, 60, 60)) for _ in range(2000)]
    spread = np.std([mean_iou(second[:, rows]) - mean_iou(first[:, rows]) for rows in drawn])
    assert PairedEstimate.of(first, second).error == pytest.approx(spread, rel=0.1)


@pytest.mark.parametrize("images", [8, 20, 80])
def test_the_interval_holds_the_truth_in_95_of_100_cases(images: int) -> None:
    first, second = population(4000)
    truth, random = mean_iou(second) - mean_iou(first), np.random.default_rng(2)
    draws, held = 600, 0
    for _ in range(draws):
        rows = torch.from_numpy(random.integers(0, 4000, images))
        low, high = PairedEstimate.of(first[:, rows], second[:, rows]).interval()
        held += low <= truth <= high
    assert abs(held / draws - 0.95) < 4 * math.sqrt(0.95 * 0.05 / draws)  # four standard deviations of a fair count


def test_equal_answers_are_known_as_well_as_equal_answers_to_classes() -> None:
    first, _ = population(100)
    equal = PairedEstimate.of(first, first)
    assert equal.difference == 0
    assert equal.interval()[0] == pytest.approx(PairedCounts(100, 0, 0).interval()[0], rel=0.05)


def test_of_one_image_nothing_is_known() -> None:
    first, second = population(1)
    assert PairedEstimate.of(first, second).interval() == (-1.0, 1.0)


def test_so_many_images_bring_the_lower_end_there() -> None:
    estimate = PairedEstimate(100, 0.01, 0.02)
    images = estimate.images_to_reach(-0.01)
    more = PairedEstimate(round(images), 0.01, 0.02 * math.sqrt(100 / images))
    assert more.interval()[0] == pytest.approx(-0.01, rel=0.02)
    assert estimate.images_to_reach(0.01) == math.inf


def test_recorded_numbers_tell_it_again() -> None:
    for pair in (PairedEstimate.of(*population(30)), PairedCounts(30, 4, 2)):
        metrics = {f"test_{name}": value for name, value in pair.metrics().items()} | {"test_images": 30}
        assert recorded(metrics, "test", "test_images") == pair
    assert recorded({"test_images": 30}, "test", "test_images") is None


def test_networks_that_answer_per_pixel_are_measured_by_mean_iou() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, K, (40, 5, 5))
    answers = np.where(random.random(labels.shape) < 0.2, (labels + 1) % K, labels)
    labels = np.where(random.random(labels.shape) < 0.1, -100, labels).astype(np.int16)
    dense, small = MeasuredNetwork(np.maximum(labels, 0).astype(np.int64), labels), MeasuredNetwork(answers, labels)
    assert dense.value == dense.accuracy == 1.0
    assert small.value == mean_iou(class_overlap(torch.from_numpy(answers), torch.from_numpy(labels).long(), K))
    counts = compare_answers(small, dense)
    assert isinstance(counts, PairedEstimate)
    assert counts.difference == pytest.approx(small.value - 1)
    assert 0.1 < churn(small, dense) < 0.4
