"""BBSE on a network with known confusions, and where it cannot say anything."""

import numpy as np
import pytest
import torch

from eyas.adaptation.drift.class_balance import estimate_balance
from eyas.adaptation.drift.labels import whole_labels
from eyas.errors import DataError


def test_a_changed_balance_is_told_through_the_confusions() -> None:
    rates = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.0, 0.2, 0.8]])
    confusion = (1000 * rates).astype(int)
    balance = np.array([0.1, 0.2, 0.7])
    estimate = estimate_balance(confusion, (100_000 * balance @ rates).round().astype(int))
    assert estimate.shares == pytest.approx(balance, abs=1e-3)
    assert sum(estimate.shares) == pytest.approx(1)


def test_few_images_stay_near_the_known_balance() -> None:
    confusion = np.diag([100, 100])
    few, many = (estimate_balance(confusion, np.array([count, 0])).shares for count in (4, 4000))
    assert 0.5 < few[0] < many[0]
    assert many[0] == pytest.approx(1, abs=0.01)


def test_the_ridge_is_the_noise_of_the_predictions() -> None:
    """Where no class is mistaken the estimate is the mean of seen and known shares, weighed 1 to K / N."""
    shares = estimate_balance(np.diag([30, 90]), np.array([4, 0])).shares
    assert shares == pytest.approx([(1 + 0.5 * 0.25) / 1.5, 0.5 * 0.75 / 1.5])


def test_one_class_only_can_be_told() -> None:
    assert estimate_balance(np.diag([500, 500, 500]), np.array([0, 2000, 0])).shares == pytest.approx(
        [0, 1, 0], abs=0.02
    )


@pytest.mark.parametrize(
    ("confusion", "reason"),
    [
        ([[50, 50], [50, 50]], "confuses classes too much"),
        ([[50, 0], [0, 3]], "class 1 has 3 labelled images, 10 are needed"),
    ],
)
def test_it_says_when_it_cannot(confusion: list[list[int]], reason: str) -> None:
    estimate = estimate_balance(np.array(confusion), np.array([5, 5]))
    assert estimate.shares is None
    assert reason in estimate.reason


def test_labels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match=r"`labels` have shape \(2,\) for 3 images"):
        whole_labels(torch.tensor([0, 1]), 3, 2)
    for wrong in (2, -1):
        with pytest.raises(DataError, match=r"classes 0 to 1"):
            whole_labels(torch.tensor([0, wrong]), 2, 2)
    assert whole_labels(torch.tensor([0, -1]), 2, 2, unknown=-1).tolist() == [0, -1]
