"""A sampler of a user's own: its ``measure`` is handed what it takes, and no more."""

from typing import Any, ClassVar, Literal

import pytest
import torch
from torch import nn

import eyas
from eyas.sampling.samplers import Sampler
from eyas.sampling.samplers.random_widths import BudgetSampler
from tests.pruning.networks import conv_bn
from tests.pruning.oracle import prepared

IMAGES = torch.randn(40, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Own(BudgetSampler):
    """Notes what it is handed; its ``measure`` is from before ``labels`` and ``budget``."""

    kind: Literal["own_measuring"] = "own_measuring"
    handed: ClassVar[dict[str, Any]] = {}

    def measure(self, model, space, planner, images, *, output=None):
        self.handed["output"] = output


class OwnBare(Own):
    kind: Literal["own_bare"] = "own_bare"

    def measure(self, model, space, planner, images):
        self.handed["images"] = images


class OwnAny(Own):
    kind: Literal["own_any"] = "own_any"

    def measure(self, *networks, **known):
        self.handed.update(known)


for _kind in ("own_measuring", "own_bare", "own_any"):  # they are handed over ready; nobody else is to find them
    del Sampler.registry[_kind]


@pytest.mark.parametrize(
    ("sampler", "names"), [(Own, {"output"}), (OwnBare, {"images"}), (OwnAny, {"labels", "budget", "output"})]
)
def test_a_sampler_is_handed_what_its_measure_takes(sampler: type[Own], names: set[str]) -> None:
    torch.manual_seed(0)
    layers = conv_bn(3, 8, 3, 2), conv_bn(8, 8, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
    model = prepared(nn.Sequential(*layers))
    space = eyas.trace(model, (IMAGES[:1],))
    sampler.handed.clear()
    result = eyas.search(model, space, {"macs": 0.5}, IMAGES[:20], IMAGES[20:], sampler=sampler(), candidates=3)
    assert len(result.candidates) > 0
    assert set(sampler.handed) == names


@pytest.mark.parametrize("sampler", ["budget", "learned_thresholds", "distortion_dp"])
def test_what_is_said_of_few_candidates_names_what_may_leave_no_more(sampler: str) -> None:
    assert "`round_to`, `min_width` and `tolerance` leave no more" in Sampler.parse(sampler).why_few
