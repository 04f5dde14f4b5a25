"""The dynamic programme against every combination."""

import itertools

import numpy as np
import pytest

from eyas.sampling.allocation import Allocation


def problem(seed, *, groups=4, levels=5):
    """Errors and whole costs of four groups at five levels; one level of each costs nothing."""
    rng = np.random.default_rng(seed)
    errors = [rng.random((1, levels)) for _ in range(groups)]
    weights = [rng.permutation(np.concatenate([[0], rng.integers(0, 12, levels - 1)])) for _ in range(groups)]
    return errors, weights


def by_brute_force(errors, weights, budget):
    """The least error of every combination that costs at most so much."""
    levels = itertools.product(*(range(len(weight)) for weight in weights))
    return min(
        sum(error[0, at] for error, at in zip(errors, row, strict=True))
        for row in levels
        if sum(weight[at] for weight, at in zip(weights, row, strict=True)) <= budget
    )


@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_optimum_of_all_combinations_at_every_budget(seed):
    errors, weights = problem(seed)
    allocation = Allocation(errors, weights, 40)
    for budget in range(0, 41, 4):
        assert allocation.least[0, budget] == pytest.approx(by_brute_force(errors, weights, budget))


@pytest.mark.parametrize("seed", range(4))
def test_choices_cost_at_most_the_budget_and_have_the_error_that_is_told(seed):
    errors, weights = problem(seed)
    allocation = Allocation(errors, weights, 40)
    for budget in range(41):
        (row,) = allocation.choices(np.array([budget]))
        assert sum(weight[at] for weight, at in zip(weights, row, strict=True)) <= budget
        told = sum(error[0, at] for error, at in zip(errors, row, strict=True))
        assert told == pytest.approx(allocation.least[0, budget])


def test_a_larger_budget_is_never_worse():
    errors, weights = problem(0, groups=6, levels=9)
    assert (np.diff(Allocation(errors, weights, 60).least) <= 0).all()


def test_many_problems_at_once_are_each_their_own():
    errors, weights = zip(*(problem(seed) for seed in range(3)), strict=True)
    alone = [Allocation(held, weights[0], 30) for held in errors]
    together = Allocation([np.concatenate(rows) for rows in zip(*errors, strict=True)], weights[0], 30)
    assert np.array_equal(together.least, np.concatenate([one.least for one in alone]))
    budgets = np.array([7, 19, 30])
    rows = [one.choices(budgets[at : at + 1])[0] for at, one in enumerate(alone)]
    assert np.array_equal(together.choices(budgets), rows)
