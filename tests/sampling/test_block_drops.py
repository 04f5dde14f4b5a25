"""Residual blocks left out by the samplers: all budgets met exactly, short candidates and narrow ones side by side."""

import numpy as np
import pytest
import torch

import eyas
from eyas.errors import BudgetError, ParameterError
from eyas.pruning.space import SearchSpace
from eyas.sampling.block_drops import BlockDrops
from eyas.sampling.budget import Budget
from eyas.sampling.generations import Generations
from eyas.sampling.placement import ABSENT, Placement
from eyas.sampling.samplers import Sampler
from eyas.sampling.search_history import SearchHistory
from models.resnet_cifar import resnet20
from tests.pruning.test_depth import PreActivation, between


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    torch.manual_seed(0)
    return eyas.trace(resnet20(num_classes=10, width=8).eval(), (torch.zeros(1, 3, 8, 8),), depth=True)


@pytest.fixture(scope="module")
def coarse(space: SearchSpace) -> SearchSpace:
    return space.rounded(4)


class PerBlock:
    """0.1 ms for each block that is there, and 0.4 ms times the share of MACs."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space

    def milliseconds(self, widths: np.ndarray) -> np.ndarray:
        share = self.space.costs(widths).macs / self.space.cost().macs
        return 0.1 * (~self.space.legal.dropped(np.asarray(widths))).sum(1) + 0.4 * share

    @property
    def dense_ms(self) -> float:
        return float(self.milliseconds(self.space.legal.dense[None])[0])


def narrowest(space: SearchSpace, *, short: bool) -> np.ndarray:
    """The smallest legal widths, ``(1, G)``; short without all blocks."""
    widths = np.array([min(space.legal_widths(group)) for group in space.groups])
    return np.where(space.legal.block_table.members.any(0) & short, 0, widths)[None]


def all_candidates(space: SearchSpace, kind: str, budget: Budget, count: int) -> np.ndarray:
    generations = Generations(space, budget, Sampler.parse(kind), candidates=count, seed=3)
    widths = generations.first()
    while len(new := generations(widths, widths.sum(1).astype(float))):
        widths = np.concatenate([widths, new])
    return widths


def num_dropped(space: SearchSpace, widths: np.ndarray) -> np.ndarray:
    return space.legal.dropped(widths).sum(1)


@pytest.mark.parametrize("kind", ["budget", "evolution"])
@pytest.mark.parametrize("limit", [{"macs": 0.5}, {"params": 0.25}, {"macs": 0.5, "params": 0.4}])
def test_budgets_are_met_whatever_is_left_out(space: SearchSpace, kind: str, limit: dict[str, float]) -> None:
    budget = Budget.parse(space, limit)
    widths = all_candidates(space, kind, budget, 120)
    assert len(np.unique(widths, axis=0)) == len(widths) == 120
    assert budget.holds(budget.costs(space, widths)).all()
    dropped = num_dropped(space, widths)
    assert dropped[0] == 0, "uniform widths come first"
    assert (dropped == 0).any()
    assert dropped.max() >= 3
    assert np.array_equal(all_candidates(space, kind, budget, 120), widths)


def test_the_floor_holds_for_what_is_there(space: SearchSpace) -> None:
    placement = Placement(space, Budget.of(space, "macs", 0.3))
    widths = Sampler.parse("budget").ask(space, placement.budget, 60, seed=0)
    floor = placement.widths(placement.floor(0.4 * placement.uniform_share())[None])
    assert ((widths == 0) | (widths >= floor))[1:].all()
    assert (widths == 0).any()
    positions = placement.positions(widths)
    assert np.array_equal(placement.widths(positions), widths)
    assert np.array_equal(positions == ABSENT, widths == 0)


def test_no_chance_leaves_nothing_out(space: SearchSpace) -> None:
    widths = Sampler.parse({"kind": "budget", "drop": 0}).ask(space, Budget.of(space, "macs", 0.5), 40, seed=0)
    assert (widths > 0).all()


def test_options_that_leave_no_block_out_are_refused_beside_depth(space: SearchSpace) -> None:
    for kind in ("budget", "surrogate"):
        with pytest.raises(ParameterError, match=f"`sampler` '{kind}' with drop 0 leaves no residual block out"):
            Sampler.parse({"kind": kind, "drop": 0}).check_space(space)
    with pytest.raises(ParameterError, match="`sampler` 'evolution' with drop 0"):
        Sampler.parse({"kind": "evolution", "drop": 0, "switched": 0}).check_space(space)
    Sampler.parse({"kind": "evolution", "drop": 0}).check_space(space)


def test_never_is_more_left_out_than_the_budget_wants(space: SearchSpace) -> None:
    placement = Placement(space, Budget.of(space, "macs", 0.7))
    gone = BlockDrops(placement, 0.99, np.zeros_like(placement.top)).draw(200, np.random.default_rng(0))
    rest = placement.costs(np.where(gone, ABSENT, placement.top))
    assert (rest >= placement.budget.low).all()
    assert gone.any()
    assert not gone.all(1).any()


def test_children_have_the_blocks_of_their_parents(space: SearchSpace) -> None:
    budget = Budget.of(space, "macs", 0.5)
    sampler = Sampler.parse({"kind": "evolution", "parents": 2, "switched": 0, "generation": 24})
    widths = Sampler.parse("budget").ask(space, budget, 60, seed=0)
    history = SearchHistory(widths, num_dropped(space, widths).astype(float))
    of_parents = space.legal.dropped(history.best(2))
    children = space.legal.dropped(sampler.ask(space, budget, 24, seed=0, history=history))
    assert (children <= of_parents.any(0)).all()
    assert (children >= of_parents.all(0)).mean() > 0.9  # one is put back where the rest would cost too little


def test_short_candidates_and_narrow_ones_race_each_other() -> None:
    torch.manual_seed(0)
    model = between(*(PreActivation(8, 8) for _ in range(4))).eval()
    space = eyas.trace(model, (torch.zeros(1, 3, 8, 8),), depth=True)
    images = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    result = eyas.search(model, space, {"macs": 0.4}, images, images.flip(3), candidates=48, seed=0)
    dropped = num_dropped(space, result.candidates.widths)
    assert (dropped == 0).any()
    assert (dropped >= 2).any()
    assert np.isfinite(result.table.score).all()
    small = result.build()
    assert sum(p.numel() for p in small.parameters()) == result.cost.params


LIMITS_OF_DEPTH = (
    {"macs": 0.1},
    {"macs": 0.05},
    {"params": 0.05},
    {"macs": 0.1, "params": 0.3},
    {"macs": 0.3, "params": 0.05},
    {"latency_ms": 0.5},
    {"latency": 0.3},
    {"latency_ms": 0.4, "macs": 0.1},
)


@pytest.mark.parametrize("kind", ["budget", "evolution", "surrogate"])
@pytest.mark.parametrize("limit", LIMITS_OF_DEPTH, ids=str)
def test_budgets_below_what_widths_alone_reach_are_met(coarse: SearchSpace, kind: str, limit: dict[str, float]) -> None:
    budget = Budget.parse(coarse, limit, latency=PerBlock(coarse))
    least_L = budget.costs_by_limit(coarse, narrowest(coarse, short=False))[:, 0]
    assert any(least > limit.high for least, limit in zip(least_L, budget.limits, strict=True))
    widths = all_candidates(coarse, kind, budget, 90)
    assert len(np.unique(widths, axis=0)) == len(widths) >= 60  # of 0.05 there are hardly more above the floor
    assert budget.holds(budget.costs(coarse, widths)).all()
    assert (num_dropped(coarse, widths) > 0).all()
    assert len(np.unique(widths == 0, axis=0)) > 5
    assert np.array_equal(all_candidates(coarse, kind, budget, 90), widths)


@pytest.mark.parametrize(
    "limit", [{"macs": 0.01}, {"params": 0.01}, {"latency_ms": 0.005}, {"macs": 0.01, "params": 0.5}], ids=str
)
def test_the_range_in_the_message_is_that_of_short_networks(coarse: SearchSpace, limit: dict[str, float]) -> None:
    budget = Budget.parse(coarse, limit, latency=PerBlock(coarse))
    least = budget.costs_by_limit(coarse, narrowest(coarse, short=True))[0, 0]
    told = f"{least:,.0f}" if least >= 1000 else f"{least:.4g}"
    with pytest.raises(BudgetError, match=f"reachable is {told} to "):
        Sampler.parse("budget").ask(coarse, budget, 10, seed=0)
    in_reach = Budget.parse(coarse, {budget.limits[0].metric: float(least)}, latency=PerBlock(coarse))
    assert len(Sampler.parse("budget").ask(coarse, in_reach, 10, seed=0))


def test_every_cost_that_only_short_networks_have_is_found() -> None:
    torch.manual_seed(0)
    model = between(PreActivation(8, 3), PreActivation(8, 12), c=8).eval()
    space = eyas.trace(model, (torch.zeros(1, 3, 8, 8),), depth=True, ignore=["0.*"])
    space = space.rounded({space.groups[0].name: 1, space.groups[1].name: 6})
    one, two = ([0, *space.legal_widths(group)] for group in space.groups)
    every = space.costs(np.array([[a, b] for a in one for b in two])).macs  # a group for each block, and no other
    short = np.unique(every[every < space.costs(narrowest(space, short=False)).macs])
    assert len(short) == 5, "1, 2 or 3 channels of one block, 6 of the other, or none"
    for macs in short.tolist():
        budget = Budget.parse(space, {"macs": macs}, 1e-4)
        widths = Sampler.parse("budget").ask(space, budget, 10, seed=0)
        assert macs in space.costs(widths).macs
    with pytest.raises(BudgetError, match=f"reachable is {short[0]:,} to {every[-1]:,}"):
        Sampler.parse("budget").ask(space, Budget.parse(space, {"macs": int(short[0]) // 2}), 10, seed=0)


def test_so_many_blocks_go_that_the_floor_is_inside(coarse: SearchSpace) -> None:
    placement = Placement(coarse, Budget.of(coarse, "macs", 0.12))
    floor = placement.floor(0.4 * placement.uniform_share())
    assert (floor > 0).any(), "the widths that are left are no thinner than they must be"
    gone = BlockDrops(placement, 0.1, floor).draw(200, np.random.default_rng(0))
    assert (placement.costs(np.where(gone, ABSENT, floor)) <= placement.budget.high).all()
    assert len(np.unique(gone, axis=0)) > 20
    widths = Sampler.parse("budget").ask(coarse, placement.budget, 60, seed=0)
    assert ((widths == 0) | (widths >= placement.widths(floor[None]))).all()


def test_a_search_with_seeds_ends_below_what_widths_reach() -> None:
    torch.manual_seed(0)
    model = between(*(PreActivation(8, 8) for _ in range(3))).eval()
    space = eyas.trace(model, (torch.zeros(1, 3, 8, 8),), depth=True, min_width=4)
    images = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    limit = {"macs": 0.5 * space.costs(narrowest(space, short=False)).macs[0] / space.cost().macs}
    with pytest.raises(BudgetError, match="reachable is"):
        eyas.search(model, eyas.trace(model, (images[:1],), min_width=4), limit, images, images.flip(3))
    result = eyas.search(model, space, limit, images, images.flip(3), candidates=12, sampler="evolution")
    assert result.uniform is None
    assert result.budget.holds(result.budget.costs(space, result.candidates.widths)).all()
    assert sum(p.numel() for p in result.build().parameters()) == result.cost.params
