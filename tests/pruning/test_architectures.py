"""Whole architectures in their published shape: parity, cost against the counter, known numbers."""

import json
from collections.abc import Callable

import pytest
import torch
from torch import nn

import eyas
from eyas.pruning.criteria.random import Random
from eyas.pruning.space import SearchSpace
from tests.pruning import networks
from tests.pruning.oracle import assert_read_alike, counted, difference, masked, random_widths

SIZE = 64
ARCHITECTURES: dict[str, tuple[Callable[[], nn.Module], float | None]] = {
    "resnext50": (lambda: networks.ResNet50(32, 4), 25.029),
    "mobilenet_v3_large": (networks.mobilenet_v3_large, 5.483),
    "densenet121": (networks.DenseNet121, 7.979),
    "googlenet": (networks.GoogLeNet, None),
    "googlenet with auxiliary head": (lambda: networks.GoogLeNet(aux=True), None),
    "shufflenet_v2": (networks.shufflenet_v2, 2.279),
    "efficientnet_b0": (networks.efficientnet_b0, 5.289),
    "regnet_y_400mf": (networks.regnet_y_400mf, 4.344),
    "squeezenet": (networks.squeezenet, 1.235),
    "ghostnet": (networks.ghostnet, None),
    "hrnet": (networks.HRNet, None),
    "repvgg_a0": (networks.repvgg_a0, 9.109),
    "convnext_tiny": (networks.convnext_tiny, 28.589),
    "unet": (networks.UNet, 31.038),
    "fpn with a shared head": (networks.FPN, None),
    "resnet56": (networks.CifarResNet, 0.853),
    "mobilenet_v1": (networks.mobilenet_v1, 4.232),
}
EXPECTED_FROZEN = {"shufflenet_v2": 3, "convnext_tiny": 5, "googlenet with auxiliary head": 2}
"""Frozen entries; every other network freezes its output layer alone."""


def with_statistics(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in ((module.weight.data, 0.8, 1.2), (module.bias.data, -0.2, 0.2)):
                tensor.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator))
            module.running_mean.copy_(0.1 * torch.randn(module.running_mean.shape, generator=generator))
            module.running_var.copy_(0.8 + 0.4 * torch.rand(module.running_var.shape, generator=generator))
    return model.eval()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_parity_and_cost(name: str) -> None:
    factory, millions = ARCHITECTURES[name]
    torch.manual_seed(0)
    model = with_statistics(factory())
    images = (torch.randn(1, 3, SIZE, SIZE),)
    space = eyas.trace(model, images)
    assert len(space.frozen) == EXPECTED_FROZEN.get(name, 1), space.frozen
    if millions is not None:
        assert space.cost().params / 1e6 == pytest.approx(millions, abs=0.001)
    plan = space.plan(random_widths(space, 0), Random(seed=0))
    small = eyas.prune(model, space, plan)
    with torch.no_grad():
        expected = masked(model, space.slices(plan))(*images)
        assert difference(model(*images), expected) > 1e-3
        assert difference(small(*images), expected) < 1e-5
    macs, params = counted(small, images, {})
    assert (space.cost(plan.widths).macs, space.cost(plan.widths).params) == (macs, params)
    assert_read_alike(space)


def reducible(space: SearchSpace) -> float:
    """Share of the MACs that goes when every group is as narrow as it may be."""
    fewest = [int(space.legal_widths(group)[0]) for group in space.groups]
    return 1 - space.cost(fewest).macs / space.cost().macs


KNOWN = {
    "resnet50": (networks.ResNet50, 224, 4089.2e6, 25.557e6),
    "mobilenet_v1": (networks.mobilenet_v1, 224, 568.74e6, 4.232e6),
    "resnet56": (networks.CifarResNet, 32, 125.49e6, 0.853e6),
    "resnet20": (lambda: networks.CifarResNet(3), 32, 40.55e6, 0.270e6),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_costs_and_prunable_share(name: str) -> None:
    factory, size, macs, params = KNOWN[name]
    space = eyas.trace(factory(), (torch.randn(1, 3, size, size),))
    assert space.cost().macs == pytest.approx(macs, rel=2e-4)
    assert space.cost().params == pytest.approx(params, rel=2e-3)
    assert reducible(space) > 0.9


def test_resnet50_has_the_published_groups() -> None:
    """One per inner convolution and stem, one per stage (EagleEye's search space: 37)."""
    space = eyas.trace(networks.ResNet50(), (torch.randn(1, 3, 64, 64),))
    assert len(space.groups) == 37
    assert sum(len(group.layers) > 2 for group in space.groups) == 4
    assert len(json.dumps(space.to_json(), indent=2)) < 200_000


def test_the_auxiliary_head_follows_in_training() -> None:
    model = networks.GoogLeNet(aux=True)
    space = eyas.trace(model, (torch.randn(1, 3, SIZE, SIZE),))
    plan = space.plan(random_widths(space, 3))
    small = eyas.prune(model, space, plan).train()
    logits, extra = small(torch.randn(2, 3, SIZE, SIZE))
    assert logits.shape == extra.shape == (2, 1000)
    (logits.sum() + extra.sum()).backward()
