"""Samplers: every row legal, inside the band, new, and the same again under the same seed."""

import itertools
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from eyas.errors import BudgetError, ParameterError
from eyas.sampling.budget import Budget, Limit
from eyas.sampling.file_size import FileSize
from eyas.sampling.generations import Generations
from eyas.sampling.samplers import Sampler
from eyas.sampling.search_history import SearchHistory
from tests.sampling.latencies import Aligned
from tests.sampling.spaces import Chain, activation_bytes_by_hand, known, macs_by_hand, params_by_hand

KINDS = sorted(Sampler.registry)
DEEP = Chain([16] * 7 + [32] * 6 + [64] * 6)
TINY = Chain([8, 12, 16], side=8)
STEPPED = Chain([64, 64, 128, 128, 256], step=8, min_width=16)


@pytest.fixture(autouse=True)
def _installed(request):
    """Skip what this machine lacks an optional package for."""
    kind = getattr(request.node, "callspec", None) and request.node.callspec.params.get("kind")
    if kind == "optuna":
        for package in ("optuna", "cmaes"):
            pytest.importorskip(package, reason=f"{package} is not installed: pip install 'eyas[optuna]'")


def ask(space, share=0.5, count=200, *, kind="budget", tolerance=0.005, seed=0, history=None, metric="macs"):
    budget = Budget.of(space, metric, share, tolerance)
    sampler = Sampler.parse(kind)
    return budget, sampler.ask(space, budget, count, seed=seed, history=history, **known(sampler, space))


def uniform_share(space, target):
    """The largest share of its channels that every group may keep, by trying ten thousand."""
    shares = np.linspace(0, 1, 10_001)
    rows = np.rint(shares[:, None] * [group.channels for group in space.groups])
    return max(share for share, row in zip(shares, rows, strict=True) if macs_by_hand(space, row) <= target)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.15, 0.5, 0.8])
@pytest.mark.parametrize("space", [DEEP, TINY, STEPPED], ids=["deep", "tiny", "stepped"])
def test_rows_are_legal_distinct_and_inside_the_band(kind, space, share):
    budget, widths = ask(space, share, kind=kind)
    assert 0 < len(widths) <= 200
    assert widths.dtype == np.int64
    assert len({tuple(row) for row in widths}) == len(widths)
    for column, group in zip(widths.T, space.groups, strict=True):
        assert set(column.tolist()) <= set(space.legal_widths(group))
    for row in widths:
        assert budget.low <= macs_by_hand(space, row) <= budget.high


@pytest.mark.parametrize("kind", KINDS)
def test_repeats_under_a_seed_and_differs_under_another(kind):
    _, one = ask(DEEP, kind=kind)
    _, same = ask(DEEP, kind=kind)
    _, other = ask(DEEP, kind=kind, seed=1)
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_told_does_not_come_again(kind):
    told = np.empty((0, len(TINY.groups)), np.int64)
    for _ in range(6):
        history = SearchHistory(told, np.arange(len(told), dtype=float))
        _, widths = ask(TINY, count=5, kind=kind, seed=3, history=history)
        told = np.concatenate([told, widths])
        assert len(np.unique(told, axis=0)) == len(told)
    assert len(told) > 5


@pytest.mark.parametrize("kind", KINDS)
def test_several_limits_at_once_are_kept_and_one_is_met(kind):
    budget, sampler = Budget.parse(DEEP, {"macs": 0.5, "params": 0.4}, 0.01), Sampler.parse(kind)
    widths = sampler.ask(DEEP, budget, 24, seed=0, **known(sampler, DEEP))
    assert len(widths) == 24
    for row in widths:
        costs = macs_by_hand(DEEP, row), params_by_hand(DEEP, row)
        assert all(cost <= limit.high for cost, limit in zip(costs, budget.limits, strict=True))
        assert any(cost >= limit.low for cost, limit in zip(costs, budget.limits, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_milliseconds_that_do_not_rise_with_every_width_are_kept(kind):
    latency, sampler = Aligned(STEPPED, lanes=16), Sampler.parse(kind)
    budget = Budget.parse(STEPPED, {"latency": 0.6}, 0.02, latency)
    widths = sampler.ask(STEPPED, budget, 24, seed=0, **known(sampler, STEPPED))
    assert len(widths) > 4
    assert (np.abs(latency.milliseconds(widths) / latency.dense_ms - 0.6) <= 0.02 + 1e-9).all()


@pytest.mark.parametrize("kind", KINDS)
def test_file_bytes_milliseconds_and_macs_at_once_are_kept_and_one_is_met(kind):
    latency, sampler = Aligned(STEPPED), Sampler.parse(kind)
    size = FileSize(1000.0, np.ones(len(STEPPED.groups)))
    dense = np.array([group.channels for group in STEPPED.groups])
    largest = float(size.bytes(STEPPED.cost().params, dense))
    bytes_limit = Limit("file_bytes", 0.5 * largest, 0.48 * largest, 0.52 * largest)
    others = Budget.parse(STEPPED, {"macs": 0.6, "latency": 0.6}, 0.02, latency)
    budget = replace(others, limits=(*others.limits, bytes_limit), file_size=size)
    widths = sampler.ask(STEPPED, budget, 24, seed=0, **known(sampler, STEPPED))
    assert len(widths) > 4
    costs_Ln = [
        [macs_by_hand(STEPPED, row) for row in widths],
        latency.milliseconds(widths),
        [1000 + 4 * (params_by_hand(STEPPED, row) - row.sum()) for row in widths],
    ]
    highs, lows = zip(*[(limit.high, limit.low) for limit in budget.limits], strict=True)
    costs_nL = np.array(costs_Ln).T
    assert (costs_nL <= highs).all()
    assert (costs_nL >= lows).any(1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_goes_on_from_its_history_as_if_it_had_never_stopped(kind):
    """Each generation asked of a sampler and a table that were written down and read again."""
    budget, sampler = Budget.of(DEEP, "macs", 0.5), Sampler.parse(kind)
    generations = Generations(DEEP, budget, sampler, candidates=90, **known(sampler, DEEP))
    widths, later = generations.first(), 0
    while len(new := generations(widths, _score(widths))):
        read = Sampler.parse(json.loads(sampler.model_dump_json()))
        table = {name: read.read_measured(json.dumps(held.to_json())) for name, held in known(read, DEEP).items()}
        again = Generations(DEEP, budget, read, candidates=90, **table)
        assert again.settings == generations.settings
        assert np.array_equal(again(widths, _score(widths)), new)
        widths, later = np.concatenate([widths, new]), later + 1
    assert len(np.unique(widths, axis=0)) == len(widths) == 90
    assert (later > 0) == sampler.learns


def _score(widths):
    """More of every second group."""
    return (widths[:, ::2] / [group.channels for group in DEEP.groups[::2]]).sum(1)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if Sampler.registry[kind].learns])
def test_broken_candidates_have_no_part_in_what_comes_next(kind):
    sampler = Sampler.parse(kind)
    budget, drawn = ask(DEEP, count=24, kind=kind)
    asked = []
    for worst in (np.nan, -np.inf):
        scores = np.where(np.arange(24) % 3 == 0, worst, _score(drawn))
        history = SearchHistory(drawn, scores)
        asked.append(sampler.ask(DEEP, budget, 8, seed=0, history=history, **known(sampler, DEEP)))
    assert np.array_equal(*asked)
    nothing = SearchHistory(drawn, np.full(24, np.nan))
    assert len(sampler.ask(DEEP, budget, 8, seed=0, history=nothing, **known(sampler, DEEP))) == 8


@pytest.mark.parametrize(
    ("metric", "by_hand"),
    [("macs", macs_by_hand), ("params", params_by_hand), ("activation_bytes", activation_bytes_by_hand)],
)
def test_any_cost_can_be_the_budget(metric, by_hand):
    _, widths = ask(DEEP, 0.4, metric=metric)
    dense = by_hand(DEEP, [group.channels for group in DEEP.groups])
    assert len(widths) == 200
    assert all(0.395 * dense <= by_hand(DEEP, row) <= 0.405 * dense for row in widths)


def test_an_absolute_budget_equals_its_share():
    dense = DEEP.cost().macs
    assert Budget.of(DEEP, "macs", 0.5) == Budget.of(DEEP, "macs", 0.5 * dense)


@pytest.mark.parametrize("kind", KINDS)
def test_uniform_widths_come_first(kind):
    budget, widths = ask(DEEP, count=2, kind=kind)
    channels = np.array([g.channels for g in DEEP.groups])
    assert (np.abs(widths[0] - uniform_share(DEEP, budget.target) * channels) <= 1.5).all()


def test_every_legal_row_of_a_small_band_is_found_once():
    space = Chain([4, 5, 6], side=4)
    budget, widths = ask(space, 0.5, count=10_000, tolerance=0.01, kind={"kind": "budget", "floor": 0})
    grid = itertools.product(*[space.legal_widths(g) for g in space.groups])
    inside = {row for row in grid if budget.low <= macs_by_hand(space, row) <= budget.high}
    assert {tuple(row) for row in widths.tolist()} == inside


def test_a_band_with_few_rows_ends_with_those():
    space = Chain([64] * 4, step=16)
    budget, widths = ask(space, 0.5, count=5000, tolerance=0.01, kind={"kind": "budget", "floor": 0})
    grid = itertools.product(range(16, 65, 16), repeat=4)
    assert len(widths) == sum(budget.low <= macs_by_hand(space, row) <= budget.high for row in grid) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_no_group_falls_below_the_floor_that_a_sampler_names(kind):
    budget, widths = ask(DEEP, 0.25, count=60, kind=kind)
    share = getattr(Sampler.parse(kind), "floor", 0) * uniform_share(DEEP, budget.target)
    assert (widths >= share * np.array([g.channels for g in DEEP.groups]) - 0.01).all()


def test_no_group_falls_below_the_floor():
    budget, widths = ask(DEEP, 0.25, count=2000)
    floor = 0.4 * uniform_share(DEEP, budget.target) * np.array([g.channels for g in DEEP.groups])
    assert (widths >= floor - 0.01).all()
    _, free = ask(DEEP, 0.25, count=2000, kind={"kind": "budget", "floor": 0})
    assert (free / [g.channels for g in DEEP.groups]).min() < 0.1


def test_a_floor_too_high_for_coarse_widths_is_lowered_and_not_left_out():
    """Rounded up to legal widths, 0.99 of uniform widths cost more than the budget."""
    coarse = Chain([64] * 6, step=16)
    budget, widths = ask(coarse, 0.5, count=200, kind={"kind": "budget", "floor": 0.99})
    assert (widths >= 32).all()
    assert (np.array([[48] * 6]) * 1.0 > uniform_share(coarse, budget.target) * 64).all()


def test_all_groups_use_the_breadth_between_floor_and_dense():
    _, widths = ask(DEEP, 0.5, count=2000)
    shares = widths / [g.channels for g in DEEP.groups]
    assert (np.quantile(shares, 0.9, axis=0) - np.quantile(shares, 0.1, axis=0) > 0.3).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [1e-9, 3e9])
def test_a_budget_out_of_reach_states_the_range(kind, share):
    least = f"{DEEP.costs(np.ones((1, 19), int)).macs[0]:,.0f}"
    most = f"{DEEP.cost().macs:,.0f}"
    with pytest.raises(BudgetError, match=rf"reachable is {least} to {most}") as caught:
        ask(DEEP, share, tolerance=1e-5, kind=kind)
    (first,) = re.findall(
        r"^`budget` can have macs from ([\d.]+) to below 1 of the dense network's: ", str(caught.value)
    )
    assert 0 <= float(first) - DEEP.costs(np.ones((1, 19), int)).macs[0] / DEEP.cost().macs < 1e-3


@pytest.mark.parametrize("limit", [1, 1.0, float(DEEP.cost().macs)])
def test_a_budget_of_the_whole_network_prunes_nothing_and_is_refused(limit):
    with pytest.raises(BudgetError, match="macs is all that the dense network has: nothing would be pruned"):
        ask(DEEP, limit)


@pytest.mark.parametrize("kind", KINDS)
def test_multiples_that_leave_dense_widths_alone_are_the_reason(kind):
    with pytest.raises(BudgetError, match="^`round_to` and `min_width` leave no group another width than all of its"):
        ask(Chain([8, 8], side=4, step=8), 0.5, kind=kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_band_between_two_steps_is_an_error_in_words(kind):
    with pytest.raises(BudgetError, match="jump over this band"):
        ask(Chain([4], side=1), 0.6, tolerance=1e-6, kind=kind)


def test_a_space_without_groups_points_to_what_is_frozen():
    space = Chain([8])
    space.groups, space.cost = (), Chain([8]).cost
    space.costs = lambda widths: Chain([8]).costs(np.full((len(widths), 1), 8))
    with pytest.raises(BudgetError, match=r"space\.frozen"):
        ask(space)


def test_an_unknown_metric_lists_those_known():
    with pytest.raises(ParameterError, match="activation_bytes"):
        Budget.of(DEEP, "flops", 0.5)


def test_history_ranks_nan_last():
    history = SearchHistory(np.array([[1], [2], [3]]), np.array([0.5, np.nan, 0.9]))
    assert history.best(3).tolist() == [[3], [1], [2]]


@pytest.mark.parametrize("channels", [[16], [16, 24]])
@pytest.mark.parametrize("share", [0.15, 0.31, 0.62, 0.93])
def test_budget_and_tolerance_that_a_band_without_candidates_names_reach_one(channels, share):
    space = Chain(channels)
    with pytest.raises(BudgetError, match="jump over this band. Next to it: ") as raised:
        ask(space, share, tolerance=1e-6)
    sides = [float(cost) for cost in re.findall(r"\{macs: (\d+)\}", str(raised.value))]
    assert len(sides) == 2
    assert sides[0] < share * space.cost().macs < sides[1]
    for cost in sides:
        _, widths = ask(space, cost, tolerance=1e-6)
        assert space.costs(widths).macs == pytest.approx(cost, abs=1)
    _, widths = ask(space, share, tolerance=float(re.search(r"`tolerance` ([\de.-]+) reaches", str(raised.value))[1]))
    assert set(space.costs(widths).macs) & set(sides)


def test_nothing_pruned_is_no_candidate():
    space = Chain([16])
    with pytest.raises(BudgetError, match=r"Next to it: \{macs: \d+\} \(`tolerance` 0\.0\d+ reaches [\d,]+\)"):
        ask(space, 0.9999)
    dense = np.array([g.channels for g in DEEP.groups])
    _, widths = ask(DEEP, 0.9999)
    assert len(widths)
    assert (widths < dense).any(1).all()
