"""The inspection tells the truth about groups, shares and reach."""

import json

import pytest
import torch

import eyas
from eyas.pruning.inspection import group_rows, render, report, smallest
from tests.pruning.networks import CifarResNet
from tests.pruning.oracle import counted


@pytest.fixture(scope="module")
def space() -> eyas.SearchSpace:
    return eyas.trace(CifarResNet(1).eval(), (torch.randn(1, 3, 16, 16),), min_width=4)


def test_shares_and_reach_are_those_of_built_networks(space: eyas.SearchSpace) -> None:
    images = (torch.randn(1, 3, 16, 16),)
    dense = counted(space.model, images, {})[0]
    row = next(row for row in group_rows(space) if row.name == "layers.2.a.0")
    small = eyas.prune(space.model, space, space.plan({"layers.2.a.0": 4}))
    assert row.macs_share == pytest.approx(1 - counted(small, images, {})[0] / dense)
    assert (row.channels, row.legal_widths) == (32, 29)
    least = eyas.prune(space.model, space, space.plan({group.name: 4 for group in space.groups}))
    assert (smallest(space).macs, smallest(space).params) == counted(least, images, {})
    share = counted(least, images, {})[0] / dense
    assert report(space)["reachable"]["macs"] == pytest.approx([share, 1.0])


@pytest.mark.parametrize("round_to", [1, 3, 8])
def test_steps_are_those_between_legal_widths(round_to: int) -> None:
    space = eyas.trace(CifarResNet(1).eval(), (torch.randn(1, 3, 16, 16),), round_to=round_to)
    for row in group_rows(space):
        *narrower, dense = space.legal_widths(row.name)
        assert row.step == round_to
        assert narrower == list(range(round_to, dense, round_to))


def test_report_is_json_and_complete(space: eyas.SearchSpace) -> None:
    content = json.loads(json.dumps(report(space)))
    assert [group["name"] for group in content["groups"]] == list(space.widths)
    assert content["frozen"][0]["reason"] == "is an output of the network"


def test_the_table_names_groups_reasons_and_costs(space: eyas.SearchSpace) -> None:
    text = render(space)
    assert all(name in text for name in space.widths)
    assert "is an output of the network" in text
    assert f"{space.cost().macs:,} dense" in text
    assert max(map(len, text.splitlines())) < 140
