"""Widths that a regression proposes: better than drawn ones, the same in any order of what was scored."""

import numpy as np
import pytest

from eyas.sampling.budget import Budget
from eyas.sampling.samplers import Sampler
from eyas.sampling.search_history import SearchHistory
from tests.sampling.spaces import Chain

DEEP = Chain([16] * 7 + [32] * 6 + [64] * 6)
BUDGET = Budget.of(DEEP, "macs", 0.5)
CHANNELS = np.array([group.channels for group in DEEP.groups])


def score(widths, noise=0.0):
    """Of shares and their squares, and chance."""
    shares = widths / CHANNELS
    weights = np.random.default_rng(7).normal(size=len(CHANNELS))
    return shares @ weights - 0.5 * np.square(shares - 0.7).sum(1) + noise * np.sin(1e4 * shares.sum(1))


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_what_it_proposes_is_better_than_all_that_it_learnt_from(noise):
    sampler = Sampler.parse("surrogate")
    first = sampler.ask(DEEP, BUDGET, 64, seed=0)
    history = SearchHistory(first, score(first, noise))
    proposed = sampler.ask(DEEP, BUDGET, 16, seed=0, history=history)
    assert len(proposed) == 16
    assert np.median(score(proposed)) > score(first).max()


def test_the_order_of_the_history_is_no_matter():
    sampler = Sampler.parse("surrogate")
    first = sampler.ask(DEEP, BUDGET, 40, seed=0)
    order = np.random.default_rng(0).permutation(40)
    one, other = (
        sampler.ask(DEEP, BUDGET, 8, seed=0, history=SearchHistory(rows, score(rows))) for rows in (first, first[order])
    )
    assert {tuple(row) for row in one} == {tuple(row) for row in other}


def test_too_few_scores_leave_the_order_of_the_draws():
    sampler = Sampler.parse("surrogate")
    first = sampler.ask(DEEP, BUDGET, 3, seed=0)
    drawn = Sampler.parse("budget").ask(DEEP, BUDGET, 8, seed=0, history=SearchHistory(first, score(first)))
    proposed = sampler.ask(DEEP, BUDGET, 8, seed=0, history=SearchHistory(first, score(first)))
    assert np.array_equal(proposed, drawn)
