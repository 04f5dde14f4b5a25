"""Plans: JSON round trip, digests, refusals; widths that are legal; ignored layers."""

import json
import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import eyas
from eyas.errors import ParameterError, PlanError
from eyas.pruning.criteria.l1_norm import L1Norm
from eyas.pruning.criteria.random import Random
from eyas.pruning.inspection import group_rows
from eyas.pruning.widths import multiples_in_words
from tests.pruning.networks import CifarResNet, conv_bn


@pytest.fixture(scope="module")
def space() -> eyas.SearchSpace:
    torch.manual_seed(0)
    model = nn.Sequential(
        conv_bn(3, 24, 3), nn.Conv2d(24, 24, 3, groups=6), nn.Conv2d(24, 20, 1), nn.BatchNorm2d(20), nn.Conv2d(20, 4, 1)
    )
    return eyas.trace(model, (torch.randn(2, 3, 8, 8),))


def test_json_round_trip(space: eyas.SearchSpace) -> None:
    plan = space.plan({"0.0": 12, "2": 7})
    again = eyas.PruningPlan.from_json(plan.to_json())
    assert again == plan
    assert (again.digest, again.widths) == (plan.digest, {"0.0": 12, "2": 7})
    assert json.loads(plan.to_json())["digest"] == plan.digest
    assert space.plan({"0.0": 12, "2": 6}).digest != plan.digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["kept"]["2"].__setitem__(0, 19), "ascending"),
        (lambda c: c["kept"]["2"].pop(), "was changed after it was written"),
        (lambda c: c.pop("space"), "not a pruning plan"),
        (lambda c: c.update(extra=1), "not a pruning plan"),
        (lambda c: c.pop("digest"), "was changed"),
    ],
)
def test_a_tampered_plan_is_refused(space: eyas.SearchSpace, change: object, message: str) -> None:
    content = json.loads(space.plan({"2": 7}).to_json())
    change(content)
    with pytest.raises(PlanError, match=message):
        eyas.PruningPlan.from_json(json.dumps(content))
    with pytest.raises(PlanError, match="not JSON"):
        eyas.PruningPlan.from_json("{")


def test_the_most_important_channels_are_kept(space: eyas.SearchSpace) -> None:
    weight = space.model[2].weight
    strongest = weight.abs().sum((1, 2, 3)).argsort(descending=True)[:7].sort().values
    assert list(space.plan({"2": 7}, L1Norm()).kept["2"]) == strongest.tolist()


def test_auto_rounds_to_eight_or_four_where_four_widths_are_left() -> None:
    network = nn.Sequential(
        *(layer for a, b in pairwise((3, 12, 16, 24, 32)) for layer in (nn.Conv2d(a, b, 1), nn.ReLU()))
    )
    space = eyas.trace(network.append(nn.Conv2d(32, 2, 1)), (torch.randn(2, 3, 8, 8),), round_to="auto")
    assert {group.channels: space.round_to[group.name] for group in space.groups} == {12: 1, 16: 4, 24: 4, 32: 8}
    assert space.legal_widths(space.groups[3]).tolist() == [8, 16, 24, 32]
    fine = eyas.trace(network, (torch.randn(2, 3, 8, 8),))
    assert fine.rounded("auto").round_to == space.round_to


@pytest.mark.parametrize("wrong", ["eight", "Auto", "8", 2.5, 8.0, True, None, [8], {"0.0": 2.5}, {"0.0": "auto"}])
def test_multiples_that_are_no_whole_numbers_are_refused(space: eyas.SearchSpace, wrong: Any) -> None:
    images = (torch.randn(2, 3, 8, 8),)
    with pytest.raises(ParameterError, match=r"^`round_to` .*a whole number.*; given: ") as caught:
        eyas.trace(space.model, images, round_to=wrong)
    with pytest.raises(ParameterError, match=f"^{re.escape(str(caught.value))}$"):
        space.rounded(wrong)


@pytest.mark.parametrize("wrong", [2.5, True, None, "3", float("nan")])
def test_a_smallest_width_that_is_no_whole_number_is_refused(space: eyas.SearchSpace, wrong: Any) -> None:
    with pytest.raises(ParameterError, match="^`min_width` is a whole number; given: "):
        eyas.trace(space.model, (torch.randn(2, 3, 8, 8),), min_width=wrong)


def test_numbers_of_numpy_are_written_as_plain_ones(space: eyas.SearchSpace) -> None:
    rounded = eyas.trace(space.model, (torch.randn(2, 3, 8, 8),), round_to={"2": np.int64(8)}, min_width=np.int32(3))  # type: ignore[dict-item,arg-type]
    assert json.loads(json.dumps(rounded.to_json()))["round_to"] == {"2": 8}
    assert space.rounded(np.int64(4)).round_to == 4  # type: ignore[arg-type]


def test_steps_round_to_and_min_width(space: eyas.SearchSpace) -> None:
    assert space.legal_widths("0.0").tolist() == [4, 8, 12, 16, 20, 24]
    assert space.legal_widths("2").tolist() == list(range(1, 21))
    rounded = eyas.trace(space.model, (torch.randn(2, 3, 8, 8),), round_to=8, min_width=10)
    assert rounded.legal_widths("0.0").tolist() == [16, 24]
    assert rounded.legal_widths("2").tolist() == [16, 20]
    with pytest.raises(ParameterError, match="`round_to` must be at least 1; given: 0"):
        eyas.trace(space.model, (torch.randn(2, 3, 8, 8),), round_to=0)


def test_multiples_in_words() -> None:
    assert multiples_in_words([8, 8]) == "multiples of 8"
    assert multiples_in_words([8, 4, 1, 4]) == "multiples of 8 in 1 group, of 4 in 2 groups, any in 1 group"
    assert multiples_in_words([1, 1]) == "any"


def test_multiples_may_differ_from_group_to_group(space: eyas.SearchSpace) -> None:
    traced = eyas.trace(space.model, (torch.randn(2, 3, 8, 8),), round_to={"2": 8}, min_width=3)
    again = space.rounded({"2": 8})
    assert traced.legal_widths("0.0").tolist() == again.legal_widths("0.0").tolist() == [4, 8, 12, 16, 20, 24]
    assert traced.legal_widths("2").tolist() == again.legal_widths("2").tolist() == [8, 16, 20]
    assert space.legal_widths("2").tolist() == list(range(1, 21))
    read = eyas.SearchSpace.from_json(space.model, json.dumps(traced.to_json()))
    assert (read.round_to, read.min_width) == ({"2": 8}, 3)
    assert [row.step for row in group_rows(read)] == [4, 8]
    for wrong, message in (
        ({"2": 0}, "`round_to` of 2 must be at least 1"),
        ({"3": 4}, "names '3', which is no group"),
    ):
        with pytest.raises(ParameterError, match=message):
            space.rounded(wrong)


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ({"0.0": 5}, "'0.0' cannot have 5 channels: allowed are multiples of 4 from 4 to 24"),
        ({"2": 0}, "cannot have 0 channels"), ({"2": 21}, "cannot have 21"),
        ({"nope": 3}, "no group 'nope'; groups are: 0.0, 2"),
        ([8.5, 8], r"widths are whole numbers of channels; given: \[8.5, 8\]"),
        ({"2": True}, "whole numbers of channels"), ([True, True], "whole numbers of channels"),
        ({"2": 8.5}, "whole numbers of channels"), ({"2": None}, "whole numbers of channels"),
        ([float("nan"), 8], "whole numbers of channels"), (["a", "b"], "whole numbers of channels"),
        ([8], "widths given for 2 groups"), ([8, 8, 8], "widths given for 2 groups"),
    ],
)  # fmt: skip
def test_illegal_widths_are_refused(space: eyas.SearchSpace, widths: object, message: str) -> None:
    for use in (space.plan, space.cost):
        with pytest.raises(PlanError, match=message):
            use(widths)


def test_a_plan_that_keeps_part_of_a_unit_is_refused(space: eyas.SearchSpace) -> None:
    plan = space.plan()
    for kept, message in (((0, 1), "part of a unit"), ((0, 99), "channels 0 to 23")):
        broken = plan.model_copy(update={"kept": {**plan.kept, "0.0": kept}})
        with pytest.raises(PlanError, match=message):
            space.slices(broken)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_slices_keep_what_the_plan_keeps(space: eyas.SearchSpace, data: st.DataObject) -> None:
    widths = [int(data.draw(st.sampled_from(space.legal_widths(group).tolist()))) for group in space.groups]
    plan = space.plan(widths, Random(seed=data.draw(st.integers(0, 99))))
    assert list(plan.widths.values()) == widths
    slices = space.slices(plan)
    for name, dim, group in (
        ("0.0.weight", 0, "0.0"),
        ("2.weight", 1, "0.0"),
        ("2.weight", 0, "2"),
        ("4.weight", 1, "2"),
    ):
        kept = slices.get(name, {}).get(dim, np.arange(space.group(group).channels))
        assert kept.tolist() == list(plan.kept[group])
    assert eyas.PruningPlan.from_json(plan.to_json()).digest == plan.digest


def test_planner_agrees_with_plan(space: eyas.SearchSpace) -> None:
    make = space.planner(Random(seed=3))
    assert make([8, 5]) == space.plan({"0.0": 8, "2": 5}, Random(seed=3))
    assert make(np.array([24, 20])).widths == space.widths


def test_one_pattern_or_type_may_come_without_a_list() -> None:
    model, images = CifarResNet(1), (torch.randn(2, 3, 16, 16),)
    for one in ("layers.1.a.*", nn.BatchNorm2d):
        alone, listed = (eyas.trace(model, images, ignore=ignore) for ignore in (one, [one]))
        assert [group.name for group in alone.groups] == [group.name for group in listed.groups]
        assert alone.frozen == listed.frozen
    for wrong in (None, [3], 3):
        with pytest.raises(ParameterError, match="^`ignore` is a list of name patterns and module types; given: "):
            eyas.trace(model, images, ignore=wrong)  # type: ignore[arg-type]


def test_ignored_layers_are_listed_and_keep_their_channels() -> None:
    model, images = CifarResNet(1), (torch.randn(2, 3, 16, 16),)
    space = eyas.trace(model, images, ignore=["layers.2.a", "layers.1.a.*"])
    ignored = {group.name for group in space.frozen if group.reason == "ignored"}
    assert ignored == {"layers.1.a.0", "layers.2.a.0"}
    assert "layers.3.a.0" in {group.name for group in space.groups}
    by_type = eyas.trace(model, images, ignore=[nn.BatchNorm2d])
    assert not by_type.groups
    by_relu = eyas.trace(
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 5, 1), nn.Conv2d(5, 2, 1)), images, ignore=[nn.ReLU]
    )
    assert [group.name for group in by_relu.groups] == ["2"]


@pytest.mark.parametrize(("item", "named"), [("layers.9*", "'layers.9\\*'"), (nn.LSTM, "LSTM")])
def test_ignoring_nothing_is_an_error(item: object, named: str) -> None:
    with pytest.raises(ParameterError, match=f"`ignore`: {named} matches no layer"):
        eyas.trace(CifarResNet(1), (torch.randn(2, 3, 16, 16),), ignore=[item])


def test_the_same_network_gives_the_same_fingerprint_and_order() -> None:
    first, second = (eyas.trace(CifarResNet(1), (torch.randn(2, 3, 16, 16),)) for _ in range(2))
    assert first.fingerprint == second.fingerprint
    assert first.to_json() == second.to_json()
    assert json.loads(json.dumps(first.to_json()))["groups"][0]["channels"] == 16
