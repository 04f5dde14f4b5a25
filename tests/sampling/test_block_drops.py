"""Residual blocks left out by the samplers: all budgets met exactly, short candidates and narrow ones side by side."""

import numpy as np
import pytest
import torch

import eyas
from eyas.errors import ParameterError
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


def num_dropped(space: SearchSpace, widths: np.ndarray) -> np.ndarray:
    return space.legal.dropped(widths).sum(1)


@pytest.mark.parametrize("kind", ["budget", "evolution"])
@pytest.mark.parametrize("limit", [{"macs": 0.5}, {"params": 0.25}, {"macs": 0.5, "params": 0.4}])
def test_budgets_are_met_whatever_is_left_out(space: SearchSpace, kind: str, limit: dict[str, float]) -> None:
    budget = Budget.parse(space, limit)
    generations = Generations(space, budget, Sampler.parse(kind), candidates=120, seed=3)
    widths = generations.first()
    while len(new := generations(widths, widths.sum(1).astype(float))):
        widths = np.concatenate([widths, new])
    assert len(np.unique(widths, axis=0)) == len(widths) == 120
    assert budget.holds(budget.costs(space, widths)).all()
    dropped = num_dropped(space, widths)
    assert dropped[0] == 0, "uniform widths come first"
    assert (dropped == 0).any()
    assert dropped.max() >= 3
    again = Generations(space, budget, Sampler.parse(kind), candidates=120, seed=3)
    assert np.array_equal(again.first(), generations.first())


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
    gone = BlockDrops(placement, 0.99).draw(200, np.random.default_rng(0))
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
