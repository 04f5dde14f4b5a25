"""Conditional draws and the pool: marginals of the band, priorities, what falls while the search runs."""

import itertools
import logging
import re

import numpy as np
import pytest

from eyas.sampling.budget import Budget
from eyas.sampling.placement import Placement
from eyas.sampling.samplers import Sampler
from eyas.sampling.samplers.conditional import draw_from, fit_marginals
from eyas.sampling.samplers.prioritised_pool import decayed, priorities
from eyas.sampling.search_history import SearchHistory
from tests.sampling.spaces import Chain

DEEP = Chain([16] * 7 + [32] * 6 + [64] * 6)
TOY = Chain([8, 9, 10, 11], side=8)


def band(space, budget):
    """Every legal row inside, by brute force."""
    grid = np.array(list(itertools.product(*[space.legal_widths(group) for group in space.groups])))
    return grid[budget.holds(budget.costs(space, grid))]


def test_its_support_is_every_row_of_the_band():
    budget = Budget.of(TOY, "macs", 0.5, 0.01)
    widths = Sampler.parse({"kind": "conditional", "floor": 0}).ask(TOY, budget, 100_000, seed=0)
    assert {tuple(row) for row in widths} == {tuple(row) for row in band(TOY, budget)}


def test_marginals_are_those_of_the_band():
    budget = Budget.of(TOY, "macs", 0.5, 0.05)
    placement = Placement(TOY, budget)
    rows, rng = band(TOY, budget), np.random.default_rng(0)
    marginals = fit_marginals(placement, np.zeros(4, np.int64), 100_000, rng)
    for chances, column, group in zip(marginals, rows.T, TOY.groups, strict=True):
        true = np.array([(column == width).mean() for width in TOY.legal_widths(group)])
        assert np.abs(chances - true).max() < 0.02
    floor = np.array([2, 0, 4, 1])
    for chances, low in zip(fit_marginals(placement, floor, 100_000, rng), floor, strict=True):
        assert not chances[:low].any(), "none is drawn below the floor"
        assert chances[low:].min() > 0
        assert chances.sum() == pytest.approx(1)
    drawn = draw_from(marginals, 50_000, rng)
    assert np.abs(np.bincount(drawn[:, 0], minlength=8) / 50_000 - marginals[0]).max() < 0.01


@pytest.mark.parametrize("share", [0.25, 0.6])
def test_draws_lie_inside_the_band_more_often_than_unconditional_ones(share, caplog):
    """How often is told: marginals know nothing of widths that depend on each other."""
    budget = Budget.of(DEEP, "macs", share)
    with caplog.at_level(logging.INFO):
        Sampler.parse("conditional").ask(DEEP, budget, 400, seed=0)
    (inside, drawn) = map(int, re.findall(r"(\d+) of (\d+) conditional draws", caplog.text)[0])
    placement = Placement(DEEP, budget)
    floor = placement.floor(0.4 * placement.uniform_share())
    free = np.random.default_rng(0).integers(floor, placement.top + 1, (20_000, 19))
    assert inside / drawn > 5 * budget.holds(placement.costs(free)).mean()


def test_where_no_draw_comes_near_the_band_rows_are_moved_there():
    budget = Budget.of(DEEP, "macs", 0.9)
    widths = Sampler.parse("conditional").ask(DEEP, budget, 300, seed=0)
    assert len(widths) == 300
    assert budget.holds(budget.costs(DEEP, widths)).all()


def test_what_falls_starts_and_ends_where_it_is_said():
    assert (decayed(0.0), decayed(1.0)) == (1.0, pytest.approx(0.01, rel=1e-12))
    assert decayed(0.5) == pytest.approx(0.1)


@pytest.mark.parametrize("heat", [1.0, 0.1, 0.01])
def test_priorities_are_a_softmax_of_the_best_that_the_pool_holds(heat):
    scores = np.array([3.0, np.nan, 1.0, 2.0, -np.inf, 0.0])
    history = SearchHistory(np.arange(6)[:, None], scores)
    chances = priorities(history, 3, heat)
    weights = np.exp(np.array([3.0, 2.0, 1.0]) / (np.std([3.0, 2.0, 1.0]) * heat))
    assert chances == pytest.approx(weights / weights.sum())
    assert history.best(3).ravel().tolist() == [0, 3, 2]
    held = priorities(history, 50, heat)
    assert len(held) == 6
    assert held[4:].tolist() == [0, 0]
    assert held.sum() == pytest.approx(1)


def test_members_of_the_pool_are_changed_in_few_groups_when_the_search_ends():
    budget = Budget.of(DEEP, "macs", 0.5)
    sampler = Sampler.parse({"kind": "pool", "size": 1, "renewed": 0.01, "generation": 32})
    first = sampler.ask(DEEP, budget, 64, seed=0)
    history = SearchHistory(first, np.where(np.arange(64) == 5, 1.0, 0.0))
    channels = np.array([group.channels for group in DEEP.groups])

    def distance(rows):
        return float((np.abs(rows - first[5]) / channels).mean())

    late = sampler.ask(DEEP, budget, 1, seed=0, history=history)
    early = sampler.ask(DEEP, budget, 100_000, seed=0, history=history)
    assert distance(late) < 0.5 * distance(early)
