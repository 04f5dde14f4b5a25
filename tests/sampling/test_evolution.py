"""Evolution: children lie inside the budget, come from the best, and get better."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import eyas
from eyas.pruning.criteria import Criterion
from eyas.sampling.budget import Budget
from eyas.sampling.generations import Generations
from eyas.sampling.placement import Placement
from eyas.sampling.samplers import Sampler
from eyas.sampling.search_history import SearchHistory
from tests.sampling.spaces import Chain, error_table

DEEP = Chain([16] * 7 + [32] * 6 + [64] * 6)
STEPPED = Chain([64, 64, 128, 128, 256], step=8, min_width=16)
CHANNELS = np.array([group.channels for group in DEEP.groups])


def search(sampler, score, seed, *, candidates=200):
    """All widths of a search, and their scores."""
    generations = Generations(
        DEEP, Budget.of(DEEP, "macs", 0.5), Sampler.parse(sampler), candidates=candidates, seed=seed
    )
    widths = generations.first()
    while len(new := generations(widths, score(widths))):
        widths = np.concatenate([widths, new])
    return widths, score(widths)


def nearness(widths):
    """A landscape with one top: some layers whole, the others thin."""
    wanted = np.where(np.arange(len(CHANNELS)) % 3 == 0, 0.95, 0.6)
    return -np.square(widths / CHANNELS - wanted).sum(1)


@pytest.mark.parametrize("seed", range(4))
def test_it_ends_higher_than_as_many_random_widths(seed):
    _, evolved = search("evolution", nearness, seed)
    _, drawn = search("budget", nearness, seed)
    assert len(evolved) == len(drawn) == 200
    assert evolved.max() > drawn.max() + 0.2 * drawn.std()


def test_generations_have_their_sizes_and_get_better():
    sampler = {"kind": "evolution", "first": 40, "generation": 20}
    widths, scores = search(sampler, nearness, 0, candidates=110)
    assert len(widths) == 110
    means = [scores[start:stop].mean() for start, stop in ((0, 40), (40, 60), (60, 80), (80, 100))]
    assert means == sorted(means)


@pytest.mark.parametrize("space", [DEEP, STEPPED], ids=["deep", "stepped"])
def test_children_are_new_inside_the_band_and_above_the_floor(space):
    budget = Budget.of(space, "macs", 0.5)
    sampler = Sampler.parse({"kind": "evolution", "first": 30, "generation": 30})
    first = sampler.ask(space, budget, 30, seed=1)
    children = sampler.ask(space, budget, 30, seed=1, history=SearchHistory(first, np.arange(30.0)))
    assert len(children) == 30
    assert budget.holds(budget.costs(space, children)).all()
    assert not {tuple(row) for row in children} & {tuple(row) for row in first}
    placement = Placement(space, budget)
    assert (children >= placement.widths(placement.floor(0.4 * placement.uniform_share())[None])).all()


def spreads(widths):
    """Widest less narrowest of the groups of each dense width, ``(n, 3)``."""
    return np.stack([np.ptp(widths[:, channels == CHANNELS], axis=1) for channels in (16, 32, 64)], 1)


def test_part_of_the_first_generation_has_one_share_for_groups_alike():
    widths = Sampler.parse("evolution").ask(DEEP, Budget.of(DEEP, "macs", 0.5), 64, seed=0)
    together = spreads(widths).max(1) <= 2  # single steps bring a row into the band
    assert 12 <= together.sum() <= 40  # those that need more steps stand last
    assert spreads(widths[~together]).mean() > 15
    shares = np.unique(widths[together][:, [0, 7, 13]] / [16, 32, 64], axis=0)
    assert len(shares) > 12
    assert (shares.max(1) == 1).sum() > 5, "some leave all channels of one kind"


@pytest.mark.parametrize("seeds", [0, 1, 5, 16])
def test_a_table_brings_seeds_behind_uniform_widths_and_the_rest_is_drawn(seeds):
    budget, table = Budget.of(DEEP, "macs", 0.5), error_table(DEEP)
    how = {"levels": 5, "images": 64}
    optima, thresholds = (
        Sampler.parse({"kind": kind, **how}).ask(DEEP, budget, 1 + count, seed=3, table=table)[1:]
        for kind, count in (("distortion_dp", -(-seeds // 2)), ("sensitivity", seeds // 2))
    )
    sampler = Sampler.parse({"kind": "evolution", "first": 40, "seeds": seeds})
    widths, drawn = (sampler.ask(DEEP, budget, 100, seed=3, **known) for known in ({"table": table}, {}))
    expected = [tuple(row) for row in np.concatenate([drawn[:1], optima, thresholds, drawn[1:]])]
    assert [tuple(row) for row in widths] == list(dict.fromkeys(expected))[:40]


def test_seeds_alone_ask_for_a_table():
    assert Sampler.parse("evolution").needs_table
    without = Sampler.parse({"kind": "evolution", "seeds": 0})
    assert not without.needs_table
    assert without.measure(None, DEEP, None, None) is None


def test_without_answers_to_compare_it_begins_without_seeds(caplog):
    """A network that answers every image alike, and one image alone."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    nn.init.zeros_(model[4].weight)
    space = eyas.trace(model.eval(), (torch.zeros(2, 3, 8, 8),))
    planner, images = space.planner(Criterion.parse("l1_norm")), torch.randn(8, 3, 8, 8)
    assert Sampler.parse("evolution").measure(model, space, planner, images) is None
    assert Sampler.parse("evolution").measure(model, space, planner, images[:1]) is None
    told = [record for record in caplog.records if record.name.endswith("evolution")]
    assert [record.levelname for record in told] == ["WARNING", "WARNING"]
    for record, why in zip(
        told, ("the network answers every image alike", "an error table of 1 `images`"), strict=True
    ):
        assert f"begins without seeds, from random widths alone: {why}" in record.getMessage()
        assert record.getMessage().endswith("mend that, or say seeds: 0 of sampler evolution, which asks for none")


def test_seeds_near_the_top_save_candidates():
    """The table's own landscape: a fifth of the candidates end above as many as all that are drawn."""
    table, budget = error_table(DEEP), Budget.of(DEEP, "macs", 0.5)

    def score(widths):
        return -(np.square(1 - widths / CHANNELS) / (1 + np.arange(len(CHANNELS)))).sum(1)

    seeded = Sampler.parse("evolution").ask(DEEP, budget, 40, seed=0, table=table)
    assert score(seeded).max() > score(search({"kind": "evolution", "seeds": 0}, score, 0)[0]).max()


def test_groups_may_all_be_drawn_one_by_one():
    widths = Sampler.parse({"kind": "evolution", "alike": 0}).ask(DEEP, Budget.of(DEEP, "macs", 0.5), 64, seed=0)
    assert (spreads(widths[1:]).max(1) > 2).all(), "all but uniform widths"


def test_groups_that_more_layers_make_are_not_alike():
    blocks = Chain([16] * 12)
    blocks.groups = tuple(replace(group, layers=("a",) * (1 + n % 2)) for n, group in enumerate(blocks.groups))
    widths = Sampler.parse("evolution").ask(blocks, Budget.of(blocks, "macs", 0.5), 64, seed=0)
    spread = np.stack([np.ptp(widths[:, parity::2], axis=1) for parity in (0, 1)])
    together = spread.max(0) <= 1
    assert 8 <= together.sum() < 40
    assert np.abs(widths[together, 0] - widths[together, 1]).max() > 4


def test_some_children_are_changed_in_all_groups_alike():
    budget = Budget.of(DEEP, "macs", 0.5)
    sampler = Sampler.parse({"kind": "evolution", "parents": 2})
    uniform = sampler.ask(DEEP, budget, 1, seed=0)
    children = sampler.ask(DEEP, budget, 32, seed=0, history=SearchHistory(uniform.repeat(2, 0), np.zeros(2)))
    together = spreads(children).max(1) <= 2
    assert 8 <= together.sum() < 32


def test_children_resemble_the_best_rather_than_the_worst():
    budget = Budget.of(DEEP, "macs", 0.5)
    sampler = Sampler.parse({"kind": "evolution", "parents": 2, "mutated": 0.01, "change": 0.01})
    drawn = sampler.ask(DEEP, budget, 64, seed=0)
    scores = np.zeros(64)
    scores[[5, 9]] = 1
    children = sampler.ask(DEEP, budget, 32, seed=0, history=SearchHistory(drawn, scores))
    shares, parents = children / CHANNELS, drawn[[5, 9]] / CHANNELS
    low, high = parents.min(0), parents.max(0)
    outside = np.maximum(low - shares, shares - high).clip(0)
    others = np.maximum(low - drawn / CHANNELS, drawn / CHANNELS - high).clip(0)
    assert outside.mean() < 0.25 * others.mean()


def test_candidates_without_a_score_have_no_children():
    budget = Budget.of(DEEP, "macs", 0.5)
    sampler = Sampler.parse({"kind": "evolution", "parents": 2})
    drawn = sampler.ask(DEEP, budget, 20, seed=0)
    finite = np.full(20, np.nan)
    finite[[3, 4]] = [0.1, 0.2]
    lowest = np.full(20, -1.0)
    lowest[[3, 4]] = [0.1, 0.2]
    one, other = (
        sampler.ask(DEEP, budget, 9, seed=0, history=SearchHistory(drawn, scores)) for scores in (finite, lowest)
    )
    assert np.array_equal(one, other)


def test_positions_are_the_inverse_of_widths():
    placement = Placement(STEPPED, Budget.of(STEPPED, "macs", 0.5))
    rows = np.random.default_rng(0).integers(0, placement.top + 1, (50, len(placement.top)))
    assert np.array_equal(placement.positions(placement.widths(rows)), rows)
