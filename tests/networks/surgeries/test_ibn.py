"""IBN: a part of the channels forgets contrast, the other goes on as batch-norm; both are pruned apart."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import eyas
import models
from eyas.errors import ParameterError
from eyas.networks.operated_network import operate
from eyas.networks.surgeries.ibn import Ibn, InstanceBatchNorm
from tests.networks.normalised_networks import WithoutNorm, vary
from tests.pruning.oracle import random_widths

IMAGES = torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def varied_norm(channels: int) -> nn.BatchNorm2d:
    layer, generator = nn.BatchNorm2d(channels).eval(), torch.Generator().manual_seed(channels)
    with torch.no_grad():
        for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
            tensor.copy_(torch.rand(channels, generator=generator) + 0.5)
    return layer


@pytest.mark.parametrize("channels", [6, 7])
def test_each_part_is_its_normalisation(channels: int) -> None:
    layer, x = varied_norm(channels), torch.randn(4, channels, 5, 5)
    changed, half = Ibn().change(layer).eval(), channels // 2
    expected = functional.instance_norm(x[:, :half], weight=layer.weight[:half], bias=layer.bias[:half])
    assert torch.allclose(changed(x)[:, :half], expected, atol=1e-6)
    assert torch.allclose(changed(x)[:, half:], layer(x)[:, half:], atol=1e-6)


def test_a_share_that_is_no_channel_of_any_layer_is_refused() -> None:
    model = vary(models.build("resnet8", 4, width=8))
    with pytest.raises(ParameterError, match="`surgeries`: share 0.01 of ibn is no channel of any layer: the widest"):
        operate(model, [{"kind": "ibn", "share": 0.01}], IMAGES)


def test_share_0_is_batch_norm_and_1_is_instance_norm() -> None:
    layer = varied_norm(5)
    assert Ibn().model_copy(update={"share": 0.0}).change(layer) is layer
    whole = Ibn(share=1).change(layer)
    assert type(whole) is nn.InstanceNorm2d
    assert torch.equal(whole.weight, layer.weight)


def test_contrast_of_an_image_does_not_pass_the_instance_part() -> None:
    changed, x = Ibn().change(varied_norm(8)).eval(), torch.randn(4, 8, 6, 6)
    scale, shift = torch.rand(4, 8, 1, 1) + 0.5, torch.randn(4, 8, 1, 1)
    with torch.no_grad():
        one, other = changed(x), changed(scale * x + shift)
    assert torch.allclose(one[:, :4], other[:, :4], atol=1e-3)
    assert float((one[:, 4:] - other[:, 4:]).abs().max()) > 0.1


def names(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, InstanceBatchNorm)]


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        ("resnet20", [f"layer{stage}.{block}.bn1" for stage in (1, 2) for block in range(3)]),
        ("resnet18", [f"layer{stage}.{block}.bn1" for stage in (1, 2, 3) for block in range(2)]),
    ],
)
def test_the_first_norm_of_each_block_but_in_the_last_stage(architecture: str, expected: list[str]) -> None:
    model = models.build(architecture, 10)
    size = 64 if architecture == "resnet18" else 16
    changed = operate(model, ["ibn"], torch.randn(2, 3, size, size)).model
    assert names(changed) == expected


def test_layers_by_name() -> None:
    changed = operate(models.build("resnet8", 10), [{"kind": "ibn", "layers": ["bn1", "layer3.*"]}], IMAGES).model
    assert names(changed) == ["bn1", "layer3.0.bn1", "layer3.0.bn2"]


def test_both_parts_are_pruned_as_groups_of_their_own() -> None:
    changed = vary(operate(models.build("resnet8", 10), ["ibn"], IMAGES).finish())
    space = eyas.trace(changed, (IMAGES[:2],))
    groups = [group for group in space.groups if group.name.startswith("layer1.0.conv1")]
    assert [group.channels for group in groups] == [8, 8]
    widths = {group.name: group.channels for group in space.groups} | {groups[0].name: 3, groups[1].name: 6}
    plan = space.plan(widths)
    eyas.check_parity(changed, space, plan).require()
    small = eyas.prune(changed, space, plan)
    parts = small.layer1[0].bn1
    assert (parts.instance.num_features, parts.batch.num_features) == (3, 6)
    for seed in range(3):
        eyas.check_parity(changed, space, space.plan(random_widths(space, seed))).require()


def test_statistics_are_calibrated_in_the_batch_part_alone() -> None:
    changed = operate(models.build("resnet8", 10), ["ibn"], IMAGES).finish()
    before = {name: value.clone() for name, value in changed.state_dict().items()}
    eyas.recalibrate(changed, IMAGES)
    moved = {name for name, value in changed.state_dict().items() if not torch.equal(value, before[name])}
    assert "layer1.0.bn1.batch.running_mean" in moved
    assert not [name for name in moved if ".instance." in name]


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (WithoutNorm(), {}, "finds no batch-norm in a residual block"),
        (models.build("vgg11_bn_cifar", 10), {}, "finds no batch-norm in a residual block"),
        (models.build("resnet8", 10), {"layers": ["conv1"]}, "can change no layer 'conv1'; it can change bn1, layer1"),
    ],
)
def test_what_is_refused(model: nn.Module, options: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        operate(model, [{"kind": "ibn", **options}], torch.randn(2, 3, 32, 32))
