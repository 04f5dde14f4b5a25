"""A sampler of one's own that breaks its promise: told by name, before anything is raced."""

from typing import Any, Literal

import numpy as np
import pytest
import torch

import eyas
from eyas.errors import PlanError
from eyas.sampling.budget import Budget
from eyas.sampling.generations import Generations
from eyas.sampling.samplers import Sampler
from tests.sampling.spaces import Chain
from tests.sampling.test_block_drops import space as deep  # noqa: F401 - a fixture

SPACE = Chain([8, 12, 16], step=2, side=8)
BUDGET = Budget.of(SPACE, "macs", 0.5, 0.05)
RIGHT = Sampler.parse("budget").ask(SPACE, BUDGET, 6, seed=0)
DENSE = np.array([[8, 12, 16]])


class Own(Sampler):
    """Gives what it is told to give."""

    kind: Literal["own"] = "own"
    learns = True
    drops_blocks = True
    gives: Any = None

    def ask(self, space, budget, count, *, seed, history=None):
        """See the base."""
        return self.gives


del Sampler.registry["own"]


def generations(gives, candidates=6, space=SPACE, budget=BUDGET):
    return Generations(space, budget, Own(gives=gives), candidates=candidates)


@pytest.mark.parametrize("gives", [RIGHT, RIGHT.astype(np.int32), RIGHT.tolist(), torch.tensor(RIGHT), RIGHT[:2]])
def test_what_keeps_the_promise_passes(gives):
    widths = generations(gives).first()
    assert widths.dtype == np.int64
    assert widths.tolist() == RIGHT[: len(gives)].tolist()


@pytest.mark.parametrize(
    ("gives", "words"),
    [
        (RIGHT.astype(float), r"a ndarray of float64 \(6, 3\): expected are integers \(candidates, 3\)"),
        (None, "a NoneType of .*: expected are integers"),
        ([[8, 12, 16], [8, 12]], "a list of .*: expected are integers"),
        (RIGHT[0], r"a ndarray of int64 \(3,\)"),
        (RIGHT[:, :2], r"a ndarray of int64 \(6, 2\)"),
        (RIGHT[:0], "no candidate, and says no reason"),
        (RIGHT - [[1, 0, 0]], r"\d channels for group 'g0': allowed are 2, 4, 6, 8; mend the sampler"),
        (DENSE + 2, "10 channels for group 'g0'"),
        (DENSE * 0, "0 channels for group 'g0'"),
        (np.concatenate([RIGHT[:3], RIGHT[:3]]), "6 candidates of which 3 are distinct"),
        (DENSE, r"a candidate outside the budget, with macs of .* \(band .* to .*\)"),
        (np.concatenate([RIGHT[:5], DENSE // 2 // 2 * 2]), "a candidate outside the budget"),
    ],
)
def test_what_breaks_it_is_refused_by_name(gives, words):
    with pytest.raises(PlanError, match=f"^sampler own proposes {words}") as told:
        generations(gives).first()
    assert "\n" not in str(told.value)


def test_no_more_than_asked_for_and_none_again():
    with pytest.raises(PlanError, match="sampler own proposes 6 candidates where 5 were asked for"):
        generations(RIGHT, 5).first()
    later = generations(RIGHT[2:], 9)
    with pytest.raises(PlanError, match="sampler own proposes 2 candidates that were scored before"):
        later(RIGHT[:4], np.arange(4.0))
    assert later(RIGHT[:2], np.arange(2.0)).tolist() == RIGHT[2:].tolist()
    with pytest.raises(PlanError, match="sampler own proposes 4 candidates where 3 were asked for"):
        generations(RIGHT[2:], 5)(RIGHT[:2], np.arange(2.0))


def test_of_several_limits_all_are_told():
    budget = Budget.parse(SPACE, {"macs": 0.5, "params": 0.5}, 0.05)
    with pytest.raises(
        PlanError, match=r"outside the budget, with macs of .* \(band .*\) and params of .* \(band .*\)"
    ):
        generations(DENSE, budget=budget).first()


def test_groups_of_a_block_go_together(deep):  # noqa: F811
    budget = Budget.of(deep, "macs", 0.5)
    drawn = Sampler.parse("budget").ask(deep, budget, 40, seed=0)
    short = drawn[(drawn == 0).any(1)][:3]
    assert generations(short, space=deep, budget=budget).first().tolist() == short.tolist()
    stray = short[:1].copy()
    own = [number for one in deep.blocks for number in one.groups]
    outside = next(number for number in range(len(deep.groups)) if number not in own)
    stray[0, outside] = 0
    with pytest.raises(
        PlanError, match="sampler own proposes 0 channels for group .*, or 0 in all groups of a residual"
    ):
        generations(stray, space=deep, budget=budget).first()


def test_a_search_ends_before_the_race():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.BatchNorm2d(16), torch.nn.Conv2d(16, 4, 6))
    model = torch.nn.Sequential(*model, torch.nn.Flatten()).eval()
    images = torch.randn(48, 3, 8, 8)
    space = eyas.trace(model, (images[:2],))
    how = {"candidates": 1, "options": eyas.SearchOptions(tolerance=0.1)}
    with pytest.raises(PlanError, match="sampler own proposes a candidate outside the budget"):
        eyas.search(model, space, {"macs": 0.5}, images[:16], images[16:], sampler=Own(gives=[[15]]), **how)
    result = eyas.search(model, space, {"macs": 0.5}, images[:16], images[16:], sampler=Own(gives=[[8]]), **how)
    assert list(result.widths.values()) == [8]
