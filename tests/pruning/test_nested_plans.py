"""Several cuts to a plan: nested in every topology, and cut after cut the network of one cut."""

import json

import pytest
import torch
from torch import nn

import eyas
from eyas.errors import CheckpointError, PlanError
from eyas.pruning.criteria.group_norm import GroupNorm
from eyas.pruning.criteria.random import Random
from eyas.pruning.nested_plans import nested_plans
from eyas.pruning.pruned_space import plan_inside, pruned_space
from tests.pruning.oracle import difference, masked, random_widths
from tests.recovery.test_refit import IMAGES, NETWORKS, calibrated


def narrow(space: eyas.SearchSpace, seed: int = 0) -> eyas.PruningPlan:
    """A plan at the smallest widths, or random ones, with random channels."""
    least = [int(space.legal_widths(group)[0]) for group in space.groups]
    return space.plan(least if seed == 0 else random_widths(space, seed), Random(seed=seed))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", NETWORKS)
def test_cut_after_cut_gives_the_network_of_one_cut(name: str, seed: int) -> None:
    torch.manual_seed(1)
    model = calibrated(NETWORKS[name]())
    space = eyas.trace(model, (IMAGES[:2],))
    plan = narrow(space, seed)
    plans = nested_plans(space, plan, 3, criterion=GroupNorm())
    assert plans[-1] == plan
    network, inner, outer = model, space, space.plan()
    for step in plans:
        assert all(set(step.kept[group]) <= set(channels) for group, channels in outer.kept.items())
        inside = step if inner is space else plan_inside(outer, step, inner)
        assert inner.cost(inside.widths) == space.cost(step.widths)
        network = eyas.prune(network, inner, inside)
        expected = eyas.prune(model, space, step)
        assert_same(network, expected)
        for (module, attribute), value in space.attributes(step).items():
            assert getattr(network.get_submodule(module), attribute) == value
        inner, outer = pruned_space(inner, inside, network), step


def assert_same(network: nn.Module, expected: nn.Module) -> None:
    ours, theirs = network.state_dict(), expected.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    with torch.no_grad():
        assert difference(network.eval()(IMAGES[:2]), expected.eval()(IMAGES[:2])) == 0


@pytest.mark.parametrize("name", NETWORKS)
def test_a_second_cut_of_changed_weights_is_their_mask(name: str) -> None:
    torch.manual_seed(2)
    model = calibrated(NETWORKS[name]()).double()
    images = IMAGES[:2].double()
    space = eyas.trace(model, (images,))
    first, last = nested_plans(space, narrow(space), 2)
    network = eyas.prune(model, space, first)
    for parameter in network.parameters():
        parameter.data.mul_(1 + 0.3 * torch.rand_like(parameter))
    inner = pruned_space(space, first, network)
    inside = plan_inside(first, last, inner)
    with torch.no_grad():
        expected = masked(network, inner.slices(inside))(images)
        assert difference(eyas.prune(network, inner, inside)(images), expected) < 1e-9
        assert difference(network(images), expected) > 1e-4


def traced() -> tuple[nn.Module, eyas.SearchSpace]:
    torch.manual_seed(3)
    model = calibrated(NETWORKS["option A"]())
    return model, eyas.trace(model, (IMAGES[:2],))


def test_every_cut_takes_the_same_share() -> None:
    _, space = traced()
    group = space.groups[0]
    plan = space.plan({group.name: group.channels // 8})
    widths = [step.widths[group.name] for step in nested_plans(space, plan, 3)]
    assert widths == [group.channels // 2, group.channels // 4, group.channels // 8]
    others = [
        step.widths[other.name] == other.channels for step in nested_plans(space, plan, 3) for other in space.groups[1:]
    ]
    assert all(others)


def test_the_least_important_of_the_others_go_first() -> None:
    _, space = traced()
    group = space.groups[0]
    kept = space.plan({group.name: group.channels // 4}, Random(seed=5))
    middle, _ = nested_plans(space, kept, 2, criterion=GroupNorm())
    ranking = space.ranking(GroupNorm())[0].tolist()
    others = [unit for unit in ranking if unit not in kept.kept[group.name]]
    expected = {*kept.kept[group.name], *others[: group.channels // 4]}
    assert set(middle.kept[group.name]) == expected


def test_one_cut_is_the_plan_itself() -> None:
    _, space = traced()
    plan = narrow(space)
    assert nested_plans(space, plan, 1) == [plan]


def test_what_is_left_of_a_space_is_a_space_as_any_other() -> None:
    model, space = traced()
    plan = nested_plans(space, narrow(space), 2)[0]
    small = eyas.prune(model, space, plan)
    inner = pruned_space(space, plan, small)
    traced_again = eyas.trace(small, (IMAGES[:2],))
    assert inner.groups == traced_again.groups
    assert inner.fingerprint == traced_again.fingerprint
    assert inner.cost() == traced_again.cost()
    assert eyas.SearchSpace.from_json(small, json.dumps(inner.to_json())).fingerprint == inner.fingerprint


def test_what_does_not_fit_is_refused_in_words() -> None:
    model, space = traced()
    plan = narrow(space)
    small = eyas.prune(model, space, plan)
    inner = pruned_space(space, plan, small)
    with pytest.raises(PlanError, match="which the network has lost already"):
        plan_inside(plan, space.plan(), inner)
    with pytest.raises(PlanError, match="different search spaces"):
        plan_inside(plan, inner.plan(), inner)
    with pytest.raises(PlanError, match="one cut at least, not in 0"):
        nested_plans(space, plan, 0)
    with pytest.raises(PlanError, match="another search space"):
        nested_plans(space, inner.plan(), 2)
    with pytest.raises(CheckpointError, match="is not the architecture"):
        pruned_space(space, plan, model)
