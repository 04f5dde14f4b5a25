"""Budgets: bands and their widths, several limits at once, latency of any model, and what is refused."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eyas.errors import BudgetError, ParameterError
from eyas.sampling.budget import Budget
from eyas.sampling.budget_limits import limit_problem
from eyas.sampling.samplers import Sampler
from tests.sampling.latencies import Aligned
from tests.sampling.spaces import Chain, activation_bytes_by_hand, macs_by_hand, params_by_hand

DEEP = Chain([16] * 7 + [32] * 6 + [64] * 6)
STEPPED = Chain([64, 64, 128, 128, 256], step=8, min_width=16)
BY_HAND = {"macs": macs_by_hand, "params": params_by_hand, "activation_bytes": activation_bytes_by_hand}


def ask(space, limit, count=100, latency=None):
    budget = Budget.parse(space, limit, latency=latency)
    return budget, Sampler.parse("budget").ask(space, budget, count, seed=0)


def check_inside(space, limit, latency, tolerance=0.005):
    """Every row costs at most each upper end, and at least the lower end of the one it is said to be bound by."""
    budget, widths = ask(space, limit, latency=latency)
    ends = {bound.metric: (bound.low, bound.high) for bound in budget.limits}
    for row, binding in zip(widths, budget.binding(space, widths), strict=True):
        costs = {name: BY_HAND[name](space, row) for name in ends if name in BY_HAND}
        if "latency_ms" in ends:
            costs["latency_ms"] = float(latency.milliseconds(row[None])[0])
        assert all(costs[name] <= high * (1 + 1e-12) for name, (_, high) in ends.items())
        assert costs[binding] >= ends[binding][0] * (1 - 1e-12)
    return widths


@pytest.mark.parametrize("share", [0.25, 0.5, 0.8])
def test_from_a_quarter_on_the_band_is_the_tolerance_of_the_dense_cost(share):
    (limit,) = Budget.of(DEEP, "macs", share).limits
    dense = DEEP.cost().macs
    assert (limit.low, limit.high) == (share * dense - 0.005 * dense, share * dense + 0.005 * dense)


@pytest.mark.parametrize("share", [0.05, 0.125, 0.2])
def test_below_a_quarter_the_band_is_four_tolerances_of_its_own_target(share):
    (limit,) = Budget.of(DEEP, "macs", share).limits
    target = share * DEEP.cost().macs
    assert (limit.low, limit.high) == pytest.approx((0.98 * target, 1.02 * target))
    (wider,) = Budget.of(DEEP, "macs", share, tolerance=0.01).limits
    assert wider.half == pytest.approx(2 * limit.half)


def test_no_band_is_so_narrow_that_widths_jump_over_it():
    coarse = Chain([64] * 6, step=16)
    (limit,) = Budget.of(coarse, "macs", 0.1, tolerance=0.02).limits
    rows = np.full((6, 6), 16) + 16 * np.eye(6, dtype=int)
    step = np.median([macs_by_hand(coarse, row) - macs_by_hand(coarse, [16] * 6) for row in rows])
    assert 4 * 0.02 * limit.target < limit.half < 0.02 * coarse.cost().macs
    assert limit.half == pytest.approx(step)


@pytest.mark.parametrize("limit", [{"latency": 0.5}, {"latency_ms": 3.0}])
def test_milliseconds_of_any_model_can_be_the_budget(limit):
    latency = Aligned(DEEP)
    budget, widths = ask(DEEP, limit, latency=latency)
    wanted = limit.get("latency_ms", 0.5 * latency.dense_ms)
    assert len(widths) == 100
    assert abs(latency.milliseconds(widths) - wanted).max() <= 0.005 * latency.dense_ms
    assert set(budget.binding(DEEP, widths)) == {"latency_ms"}


def test_a_share_of_latency_is_that_many_milliseconds():
    latency = Aligned(DEEP)
    share = Budget.of(DEEP, "latency", 0.5, latency=latency)
    assert share == Budget.of(DEEP, "latency_ms", 0.5 * latency.dense_ms, latency=latency)


@pytest.mark.parametrize("value", [0.02, 0.9])
def test_milliseconds_below_one_are_no_share(value):
    small = Chain([8, 12, 16], side=8)
    (limit,) = Budget.of(small, "latency_ms", value, latency=Aligned(small)).limits
    assert limit.target == value


def test_several_limits_bind_where_they_are_met_first():
    limit = {"macs": 0.5, "params": 0.4, "latency": 0.5}
    widths = check_inside(DEEP, limit, Aligned(DEEP))
    assert len(widths) == 100
    budget = Budget.parse(DEEP, limit, latency=Aligned(DEEP))
    assert len(set(budget.binding(DEEP, widths))) > 1
    loose = Budget.parse(DEEP, {"macs": 0.2, "params": 10**9})
    rows = Sampler.parse("budget").ask(DEEP, loose, 50, seed=0)
    assert set(loose.binding(DEEP, rows)) == {"macs"}


def test_one_of_several_limits_alone_places_as_it_does_by_itself():
    alone, rows = ask(DEEP, {"macs": 0.5})
    both, same = ask(DEEP, {"macs": 0.5, "params": 10**9})
    assert alone.limits[0] == both.limits[0]
    assert np.array_equal(rows[0], same[0])
    assert alone.holds(alone.costs(DEEP, same)).all()


@settings(max_examples=40, deadline=None)
@given(
    channels=st.lists(st.sampled_from([8, 16, 24, 48]), min_size=3, max_size=12),
    step=st.sampled_from([1, 1, 4]),
    limits=st.dictionaries(
        st.sampled_from(["macs", "params", "activation_bytes", "latency"]), st.floats(0.2, 0.9), min_size=1
    ),
    penalty=st.floats(0, 1.5),
    lanes=st.sampled_from([4, 8]),
)
def test_every_candidate_lies_inside_all_limits(channels, step, limits, penalty, lanes):
    space = Chain(channels, step=step)
    latency = Aligned(space, lanes, penalty)
    try:
        check_inside(space, limits, latency)
    except BudgetError as error:
        assert "reachable is" in str(error)  # noqa: PT017  an answer, too, where steps are coarse


def test_each_limit_out_of_reach_is_named_with_every_range():
    latency = Aligned(DEEP)
    least = latency.milliseconds(np.ones((1, 19), int))[0]
    with pytest.raises(BudgetError) as caught:
        ask(DEEP, {"macs": 0.5, "latency_ms": 0.01, "params": 1000}, latency=latency)
    message = str(caught.value)
    share = float(
        re.match(r"`budget` can have latency_ms from ([\d.]+) to below 1 of the dense network's: no", message)[1]
    )
    assert least / latency.dense_ms <= share < 1.01 * least / latency.dense_ms
    assert "no candidate can have macs of 20,275,520 (band " in message
    assert "and latency_ms of 0.01 (band " in message
    assert (
        f"the dense network has {latency.dense_ms:.4g}): reachable is {least:.4g} to {latency.dense_ms:.4g}, and params"
        in message
    )
    assert "Out of reach by itself: latency_ms. " in message


def test_limits_that_the_dense_network_meets_prune_nothing():
    with pytest.raises(BudgetError, match="macs and params is all that the dense network has: nothing would be pruned"):
        ask(DEEP, {"macs": 1e12, "params": 1e9})


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({"flops": 0.5}, "known are macs, params, activation_bytes, file_bytes, latency_ms, latency"),
        ({}, "give limits such as"),
        (0.5, "give limits such as"),
        ({"macs": 0}, "macs is a share of the dense cost up to 1, or a larger number"),
        ({"macs": 0.5, "latency_ms": -4}, "latency_ms is a share"),
        ({"macs": True}, "macs is a share"),
        ({"params": float("nan")}, "params is a share"),
        ({"latency": 4}, "latency 4 is no share of the dense network's; for milliseconds give latency_ms: 4"),
        ({"latency": 0.5, "latency_ms": 4}, "latency and latency_ms limit the same: give one of them"),
        ({"macs": 1.5}, "macs 1.5 is neither a share of the dense cost, up to 1, nor a whole number"),
    ],
)
def test_what_makes_no_sense_is_refused(limit, words):
    with pytest.raises(ParameterError) as caught:
        Budget.parse(DEEP, limit, latency=Aligned(DEEP))
    assert words in str(caught.value)


@pytest.mark.parametrize(("latency", "said"), [(None, "nothing"), (4, "4")])
def test_latency_without_a_model_is_refused(latency, said):
    with pytest.raises(ParameterError, match=f"milliseconds, which {said} predicts: give `latency`"):
        Budget.parse(DEEP, {"latency_ms": 4}, latency=latency)


def test_a_share_of_a_count_may_stand_beside_milliseconds():
    assert limit_problem({"macs": 0.5, "latency_ms": 4.5, "params": 200000.0}) == ""


@pytest.mark.parametrize("tolerance", [0, -0.1, float("nan"), float("inf"), 1.5, True, "0.1"])
def test_a_tolerance_that_makes_no_band_is_refused(tolerance):
    with pytest.raises(ParameterError, match="`tolerance` .*: give a share of the dense cost above 0 and up to 1"):
        Budget.parse(DEEP, {"macs": 0.5, "params": 0.5}, tolerance)
