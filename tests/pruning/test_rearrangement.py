"""Sorted filters: the network computes the same, and weak filters share blocks."""

import copy

import pytest
import torch

import eyas
import models
from eyas.errors import PlanError
from eyas.pruning.rearrangement import permute_units, rearrange_filters
from eyas.pruning.sparsify import SparseLayers
from eyas.pruning.sparsity.one_by_n import OneByN
from tests.pruning.oracle import prepared

NETWORKS = [
    ("resnet8", {"width": 8, "in_channels": 1}, (1, 8, 8)),
    ("resnet20", {}, (3, 16, 16)),
    ("mobilenet_v2", {}, (3, 32, 32)),
    ("mobilenet_v1", {}, (3, 32, 32)),
]


def traced(name, arguments, shape):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = prepared(models.build(name, 10, **arguments))
        images = torch.randn(4, *shape, dtype=torch.float64)
    return model, eyas.trace(model, (images,)), images


@pytest.mark.parametrize("network", NETWORKS, ids=[name for name, *_ in NETWORKS])
def test_the_network_computes_the_same(network):
    model, space, images = traced(*network)
    moved = copy.deepcopy(model)
    names = rearrange_filters(moved, space, frozenset(name for name, _ in model.named_parameters()))
    assert names
    changed = [name for name, value in model.state_dict().items() if not torch.equal(value, moved.state_dict()[name])]
    assert len(changed) > len(names)
    with torch.no_grad():
        torch.testing.assert_close(moved(images), model(images), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("network", NETWORKS, ids=[name for name, *_ in NETWORKS])
def test_any_order_of_any_group_computes_the_same(network):
    model, space, images = traced(*network)
    moved = copy.deepcopy(model)
    tensors = {**dict(moved.named_parameters()), **dict(moved.named_buffers())}
    generator = torch.Generator().manual_seed(1)
    for group in space.groups:
        permute_units(tensors, group, torch.randperm(group.units, generator=generator).numpy())
    with torch.no_grad():
        torch.testing.assert_close(moved(images), model(images), rtol=1e-9, atol=1e-9)


def test_filters_of_sorted_layers_have_ascending_norms_and_tied_ones_keep_their_order():
    model, space, _ = traced(*NETWORKS[0])
    moved = copy.deepcopy(model)
    rearrange_filters(moved, space, frozenset(name for name, _ in model.named_parameters()))
    norms = moved.layer1[0].conv1.weight.abs().sum((1, 2, 3))
    assert torch.equal(norms, norms.sort().values)
    assert sorted(norms.tolist()) == pytest.approx(sorted(model.layer1[0].conv1.weight.abs().sum((1, 2, 3)).tolist()))
    tied = moved.layer1[0].conv2.weight.abs().sum((1, 2, 3))  # added to its shortcut: one order for both
    assert torch.equal(tied, model.layer1[0].conv2.weight.abs().sum((1, 2, 3)))


def test_only_layers_that_are_named_are_sorted():
    model, space, _ = traced(*NETWORKS[0])
    moved = copy.deepcopy(model)
    assert rearrange_filters(moved, space, frozenset({"layer1.0.conv1.weight"})) == ("layer1.0.conv1",)
    assert torch.equal(moved.layer2[0].conv1.weight, model.layer2[0].conv1.weight)


def test_sorting_keeps_more_magnitude_in_blocks():
    """Random filters of unequal norms, as trained networks have them."""
    model, space, _ = traced(*NETWORKS[1])
    sparsity, gained, layers = OneByN(n=4), 0, 0
    with torch.no_grad():
        for weight in SparseLayers.choose(model, sparsity).weights.values():
            weight.mul_(torch.rand(len(weight), 1, 1, 1, dtype=weight.dtype) + 0.1)
    moved = copy.deepcopy(model)
    names = rearrange_filters(moved, space, frozenset(SparseLayers.choose(moved, sparsity).weights))
    for name in names:
        kept = []
        for network in (model, moved):
            weight = network.get_parameter(f"{name}.weight")
            kept.append(float(weight.detach()[sparsity.mask(weight)].abs().sum()))
        layers, gained = layers + 1, gained + (kept[1] >= kept[0])
    assert gained >= 0.9 * layers > 0


def test_what_is_no_order_of_all_units_is_refused():
    model, space, _ = traced(*NETWORKS[0])
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    with pytest.raises(PlanError, match="an order names each of them once"):
        permute_units(tensors, space.groups[0], torch.zeros(space.groups[0].units, dtype=torch.int64).numpy())
