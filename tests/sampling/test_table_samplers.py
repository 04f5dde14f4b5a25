"""Samplers by an error table: least summed error, one threshold, and a search over coefficients."""

import itertools

import numpy as np
import pytest

from eyas.errors import ParameterError
from eyas.sampling.budget import Budget
from eyas.sampling.generations import Generations
from eyas.sampling.placement import Placement
from eyas.sampling.samplers import Sampler
from eyas.sampling.samplers.distortion_dp import additive_costs, least_error
from eyas.sampling.samplers.spdy import coefficients
from eyas.sampling.samplers.table import TableSampler
from eyas.sampling.search_history import SearchHistory
from tests.sampling.spaces import Chain, error_table

DEEP = Chain([16] * 7 + [32] * 6 + [64] * 6)
SMALL = Chain([10, 12, 14, 16], side=8)
KINDS = sorted(kind for kind, member in Sampler.members().items() if issubclass(member, TableSampler))


def summed(space, widths, table=None):
    """The errors that the table tells of single groups, together."""
    curves = (table or error_table(space)).curves(Placement(space, Budget.of(space, "macs", 0.5)))
    legal = [space.legal_widths(group) for group in space.groups]
    rows = np.atleast_2d(widths)
    return np.array([sum(c[held.index(w)] for c, held, w in zip(curves, legal, row, strict=True)) for row in rows])


def ask(kind, space=DEEP, share=0.5, count=2, **how):
    sampler, budget = Sampler.parse(kind), Budget.of(space, "macs", share)
    return sampler.ask(space, budget, count, seed=how.pop("seed", 0), table=error_table(space), **how)


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_table_it_says_who_makes_one(kind):
    with pytest.raises(
        ParameterError, match=f"sampler '{kind}' allocates by errors .*: give it the table that it measures"
    ):
        Sampler.parse(kind).ask(DEEP, Budget.of(DEEP, "macs", 0.5), 2, seed=0)


@pytest.mark.parametrize("kind", ["distortion_dp", "sensitivity"])
def test_fewer_candidates_than_were_asked_for_are_told_once(kind, caplog):
    generations = Generations(
        SMALL, Budget.of(SMALL, "macs", 0.5), {"kind": kind, "spread": 0.01}, candidates=90, table=error_table(SMALL)
    )
    widths = generations.first()
    assert len(widths) < 90
    assert generations(widths, np.zeros(len(widths))).shape == (0, 4)
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"sampler {kind} proposes {len(widths)} candidates, not the 90 asked for: its error table leads to the same "
        "widths again and again; a larger spread, or sampler budget, finds more, unless `round_to`, `min_width` and "
        "`tolerance` leave no more"
    ]


def test_a_search_that_finds_no_further_widths_says_how_many_there_were(caplog):
    tiny = Chain([3, 3], side=8)
    generations = Generations(tiny, Budget.of(tiny, "macs", 0.6, 0.3), {"kind": "evolution", "seeds": 0}, candidates=50)
    widths = generations.first()
    while len(further := generations(widths, np.arange(len(widths), dtype=float))):
        widths = np.concatenate([widths, further])
    words = f"sampler evolution proposes {len(widths)} candidates, not the 50 asked for: `round_to`, `min_width` and"
    assert [words in record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [True]


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_the_programme_is_nearly_the_best_of_all_widths_in_the_band(share):
    """Its costs are those of single groups: what it misses by that is small."""
    budget = Budget.of(SMALL, "macs", share)
    grid = np.array(list(itertools.product(*[SMALL.legal_widths(group) for group in SMALL.groups])))
    every = summed(SMALL, grid[budget.holds(budget.costs(SMALL, grid))])
    best = summed(SMALL, ask({"kind": "distortion_dp", "floor": 0}, SMALL, share)[1])
    assert best < np.quantile(every, 0.03)
    assert best - every.min() < 0.1 * (np.median(every) - every.min())


@pytest.mark.parametrize(
    "limits",
    [
        {"macs": 0.5, "params": 0.3},
        {"params": 0.3, "activation_bytes": 0.7},
        {"macs": 0.47, "params": 0.42, "activation_bytes": 0.82},  # macs and params decide
        {"macs": 0.64, "params": 0.31, "activation_bytes": 0.46},  # params and activation_bytes
    ],
)
def test_of_several_limits_it_is_nearly_the_best_of_all_widths_within_them(limits):
    budget = Budget.parse(SMALL, limits)
    grid = np.array(list(itertools.product(*[SMALL.legal_widths(group) for group in SMALL.groups])))
    costs_Ln = budget.costs_by_limit(SMALL, grid)
    within = np.all([costs <= limit.high for costs, limit in zip(costs_Ln, budget.limits, strict=True)], 0)
    every = summed(SMALL, grid[within])
    sampler = Sampler.parse({"kind": "distortion_dp", "floor": 0})
    widths = sampler.ask(SMALL, budget, 2, seed=0, table=error_table(SMALL))[1:]
    for costs, limit in zip(budget.costs_by_limit(SMALL, widths), budget.limits, strict=True):
        assert costs[0] <= limit.high
    best = summed(SMALL, widths)[0]
    assert best - every.min() < 0.05 * (np.median(every) - every.min())


def test_limits_are_weighed_in_their_own_units():
    """A limit that never binds changes nothing, whatever its unit."""
    one, both = ({"macs": 0.4}, {"macs": 0.4, "activation_bytes": 0.95})
    asked = [
        Sampler.parse("distortion_dp").ask(DEEP, Budget.parse(DEEP, limits), 2, seed=0, table=error_table(DEEP))[1]
        for limits in (one, both)
    ]
    assert np.abs(asked[0] - asked[1]).max() <= 3


def test_more_budget_has_less_error():
    optima = [summed(DEEP, ask("distortion_dp", share=share)[1])[0] for share in (0.2, 0.4, 0.6, 0.8)]
    assert optima == sorted(optima, reverse=True)


def test_optima_of_random_factors_stay_near_the_optimum():
    near, far = (summed(DEEP, ask({"kind": "distortion_dp", "spread": spread}, count=24)[2:]) for spread in (0.1, 1.5))
    assert near.mean() < far.mean()


def test_every_group_has_the_smallest_width_below_one_threshold():
    """As allocated, before single steps repair the cost."""
    budget = Budget.of(DEEP, "macs", 0.5)
    placement, sampler = Placement(DEEP, budget), Sampler.parse("sensitivity")
    curves, floor = error_table(DEEP).curves(placement), placement.floor(0)
    (positions,) = sampler.allocate(placement, curves, np.ones((1, len(curves))), floor)
    threshold = max(curve[at] for curve, at in zip(curves, positions, strict=True))
    narrower = [curve[at - 1] for curve, at in zip(curves, positions, strict=True) if at]
    assert min(narrower) > threshold
    assert abs(placement.costs(positions[None])[0] - budget.target) < 0.05 * DEEP.cost().macs


def test_a_group_that_makes_no_error_goes_to_its_floor():
    table = error_table(DEEP)
    flat = type(table)(table.widths, ((0.0,) * len(table.errors[0]), *table.errors[1:]))
    for kind in KINDS:
        sampler, budget = Sampler.parse(kind), Budget.of(DEEP, "macs", 0.5)
        widths = sampler.ask(DEEP, budget, 2, seed=0, table=flat)
        placement = Placement(DEEP, budget)
        floor = placement.widths(placement.floor(0.4 * placement.uniform_share())[None])[0]
        assert widths[1, 0] <= floor[0] + 1, kind


def test_coefficients_of_an_optimum_lead_back_to_it():
    budget = Budget.of(DEEP, "macs", 0.5)
    placement = Placement(DEEP, budget)
    curves, floor = error_table(DEEP, levels=65).curves(placement), np.zeros_like(placement.top)
    drawn = np.random.default_rng(0).uniform(0.05, 1, (6, len(curves)))
    positions = least_error(placement, curves, drawn, floor)
    costs = additive_costs(placement, curves, floor)
    back = np.stack([coefficients(curves, costs, row) for row in positions])
    again = least_error(placement, curves, back, floor)
    shares, others = positions / placement.top, again / placement.top
    assert np.abs(shares - others).mean() < 0.05
    inside = (positions > 1) & (positions < placement.top - 1)
    for row, (one, other) in zip(inside, zip(np.log(drawn), np.log(back), strict=True), strict=True):
        assert np.corrcoef(one[row], other[row])[0, 1] > 0.8


def test_without_a_search_all_coefficients_are_one():
    """The first candidate behind uniform widths is the plain optimum."""
    plan = {"floor": 0.4}
    assert np.array_equal(ask({"kind": "spdy", **plan})[1], ask({"kind": "distortion_dp", **plan})[1])


def test_children_of_the_best_differ_in_few_groups_and_in_fewer_the_longer_nothing_is_better():
    first = ask({"kind": "spdy", "first": 40}, count=40)
    placement = Placement(DEEP, Budget.of(DEEP, "macs", 0.5))
    curves, distances = error_table(DEEP).curves(placement), []
    costs = additive_costs(placement, curves, placement.floor(0.4 * placement.uniform_share()))
    for best in (39, 0):  # the last one, or none was better since the first
        scores = np.where(np.arange(40) == best, 1.0, 0.0)
        sampler = Sampler.parse({"kind": "spdy", "resampled": 0.5, "patience": 5})
        history = SearchHistory(first, scores)
        factors = sampler.factors(placement, curves, 50, np.random.default_rng(0), history)
        parent = coefficients(curves, costs, placement.positions(first[[best]])[0])
        distances.append((factors != parent).sum(1))
    assert distances[0].tolist() == [10] * 50  # half of 19
    assert distances[1].tolist() == [3] * 50  # 7 times 5 candidates later


def test_searching_coefficients_beats_as_many_random_ones():
    """In the mean over two landscapes that the table knows nothing of."""
    channels = np.array([group.channels for group in DEEP.groups])

    def best(first, seed):
        hidden = np.random.default_rng(seed).uniform(0.1, 1, len(channels))
        sampler, table = Sampler.parse({"kind": "spdy", "first": first}), error_table(DEEP)
        generations = Generations(DEEP, Budget.of(DEEP, "macs", 0.5), sampler, candidates=96, seed=seed, table=table)
        widths = generations.first()
        while len(new := generations(widths, score(widths, hidden))):
            widths = np.concatenate([widths, new])
        assert len(widths) == 96
        return score(widths, hidden).max()

    def score(widths, hidden):
        return -(np.square(1 - widths / channels) * hidden).sum(1)

    assert np.mean([best(24, seed) for seed in range(2)]) > np.mean([best(96, seed) for seed in range(2)]) + 0.05
