"""The counter and the stand-ins of ``benchmarks/rivals.py``, against what is computed another way."""

import pytest
import torch

import eyas
import models
from benchmarks.rival_pruners import Selection, count_macs, with_selections

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v2_cifar"])
def test_the_counter_counts_what_the_search_space_counts(name: str) -> None:
    model = models.build(name, 10).eval()
    space = eyas.trace(model, (IMAGES,))
    assert count_macs(model, IMAGES) == space.cost().macs
    widths = {group.name: space.legal_widths(group)[len(space.legal_widths(group)) // 2] for group in space.groups}
    small = eyas.prune(model, space, space.plan(widths))
    assert count_macs(small, IMAGES) == space.cost(widths).macs == eyas.trace(small, (IMAGES,)).cost().macs


def test_selections_compute_what_padded_shortcuts_do() -> None:
    model = models.build("resnet20", 10).eval()
    other = with_selections(model)
    assert sum(isinstance(module, Selection) for module in other.modules()) == 2
    assert torch.equal(other(IMAGES), model(IMAGES))
    assert count_macs(other, IMAGES) == count_macs(model, IMAGES)
