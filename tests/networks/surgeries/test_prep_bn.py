"""PRepBN: layer norm at first, batch-norm at last, one plain batch-norm afterwards."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import eyas
import models
from eyas.errors import ParameterError, TraceError
from eyas.networks.operated_network import operate
from eyas.networks.surgeries.prep_bn import AnyBatchNorm, ChannelsLastNorm, PrepBn, ProgressiveNorm
from tests.networks.normalised_networks import Everything
from tests.pruning.oracle import random_widths

IMAGES = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(1))


class LayerNorm2d(nn.LayerNorm):
    """Over the channels of ``(N, C, H, W)``."""

    def forward(self, x: Tensor) -> Tensor:
        x = functional.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class Doubled(nn.LayerNorm):
    """Something else than it says."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class ConvNext(nn.Module):
    """Two blocks as in ConvNeXt: channels first in the stem and between stages, last inside the blocks."""

    def __init__(self, num_classes: int = 5) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(3, 8, 2, stride=2), LayerNorm2d(8)
        self.mix, self.norm = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.LayerNorm(8)
        self.up, self.down = nn.Linear(8, 24), nn.Linear(24, 8)
        self.head = nn.Linear(8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem_norm(self.stem(x))
        y = self.down(functional.gelu(self.up(self.norm(self.mix(x).permute(0, 2, 3, 1)))))
        return self.head((x + y.permute(0, 3, 1, 2)).mean((2, 3)))


def varied(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "norm" in name and tensor.is_floating_point() and tensor.ndim:
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return model


@pytest.mark.parametrize(("layer", "shape"), [(nn.LayerNorm(6), (4, 3, 5, 6)), (LayerNorm2d(6), (4, 6, 3, 5))])
def test_it_slides_from_layer_norm_to_batch_norm(layer: nn.Module, shape: tuple[int, ...]) -> None:
    layer, x = varied(layer), 3 * torch.randn(shape) + 1
    progressive = ProgressiveNorm(copy.deepcopy(layer), eta=0.0, steps=4).train()
    channel = 1 if isinstance(layer, LayerNorm2d) else -1
    moved = x.transpose(1, channel)
    of_batch = functional.batch_norm(moved, None, None, layer.weight, layer.bias, training=True).transpose(1, channel)
    for share in (1.0, 0.75, 0.5, 0.25, 0.0, 0.0):
        expected = share * layer(x) + (1 - share) * of_batch
        assert torch.allclose(progressive(x), expected, atol=1e-5), share


@pytest.mark.parametrize("eta", [0.0, 1.0, -0.3])
def test_what_is_merged_gives_the_same_as_in_eval_mode(eta: float) -> None:
    progressive = varied(ProgressiveNorm(nn.LayerNorm(6), eta, steps=2).eval())
    x = torch.randn(4, 7, 6)
    merged = progressive.merged()
    assert isinstance(progressive.batch_norm, ChannelsLastNorm)
    norm = progressive.batch_norm.norm
    plain = (x - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias + eta * x
    assert torch.allclose(progressive(x), plain, atol=1e-5)
    assert torch.allclose(merged(x), plain, atol=1e-5)
    linear = nn.Linear(6, 3)  # the paper's merge into what reads it
    a = norm.weight / (norm.running_var + norm.eps).sqrt() + eta
    d = norm.bias - norm.weight * norm.running_mean / (norm.running_var + norm.eps).sqrt()
    read = functional.linear(x, linear.weight * a, linear.bias + linear.weight @ d)
    assert torch.allclose(linear(merged(x)), read, atol=1e-5)


def test_a_training_begins_as_the_network_was_and_goes_on_where_it_was_stopped() -> None:
    model = ConvNext().train()
    operated = operate(model, [{"kind": "prep_bn", "steps": 10}], IMAGES)
    assert torch.allclose(operated.model.train()(IMAGES), model(IMAGES), atol=1e-5)
    operated.model(IMAGES)
    resumed = operate(model, [{"kind": "prep_bn", "steps": 10}], IMAGES).model.train()
    resumed.load_state_dict(operated.model.state_dict())
    assert int(resumed.norm.fallen) == 2
    assert torch.equal(resumed(IMAGES), operated.model(IMAGES))


def test_which_layers_and_half_of_the_steps() -> None:
    operated = operate(ConvNext(), ["prep_bn"], IMAGES, steps=600)
    assert operated.surgeries == (PrepBn(layers=("stem_norm", "norm"), steps=300),)
    assert [type(module) for module in operated.finish().modules()].count(AnyBatchNorm) == 2


def test_channels_behind_layer_norm_can_be_pruned_afterwards() -> None:
    model = Everything()
    with_layer_norm = eyas.trace(model, (IMAGES[:2],))
    finished = varied(operate(model, ["prep_bn"], IMAGES).finish()).eval()
    space = eyas.trace(finished, (IMAGES[:2],))
    assert "wide" not in {group.name for group in with_layer_norm.groups}
    assert "wide" in {group.name for group in space.groups}
    for seed in range(3):
        eyas.check_parity(finished, space, space.plan(random_widths(space, seed))).require()


def test_its_statistics_are_recalibrated() -> None:
    finished = operate(ConvNext(), ["prep_bn"], IMAGES).finish().eval()
    eyas.recalibrate(finished, IMAGES, calibrator="layer_by_layer")
    with torch.no_grad():
        stem = finished.stem(IMAGES)
        mixed = finished.mix(finished.stem_norm(stem))
    for norm, seen in ((finished.stem_norm, stem), (finished.norm.norm, mixed)):
        assert torch.allclose(norm.running_mean, seen.mean((0, 2, 3)), atol=1e-5)
        assert torch.allclose(norm.running_var, seen.var((0, 2, 3), correction=0), rtol=1e-4)


def test_what_is_no_layer_norm_of_its_own_stays() -> None:
    model = ConvNext()
    model.norm.weight = model.stem_norm.weight
    with pytest.raises(ParameterError, match="finds no layer norm over channels alone"):
        operate(model, ["prep_bn"], IMAGES)
    assert PrepBn().changeable(
        nn.Sequential(Doubled(4), nn.LayerNorm((3, 4)), nn.LayerNorm(4)), IMAGES[:, :, 0, :4]
    ) == ["2"]
    with pytest.raises(ParameterError, match="finds no layer norm"):
        operate(models.build("resnet8", 10), ["prep_bn"], IMAGES)


class Twice(nn.Module):
    """One layer norm behind two layers, and one that runs once."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.mix, self.once = nn.LayerNorm(8), nn.Linear(8, 8), nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        return self.once(self.shared(self.mix(self.shared(x))))


def test_a_layer_that_runs_twice_stays_so_that_the_fall_counts_steps() -> None:
    model, x = Twice(), IMAGES[:, :, 0]
    hooks = [len(module._forward_pre_hooks) for module in model.modules()]
    surgery = PrepBn(steps=8).choose(model, x)
    assert surgery.layers == ("once",)
    assert [len(module._forward_pre_hooks) for module in model.modules()] == hooks
    changed = surgery.apply(model).train()
    for _ in range(4):
        changed(x)
    assert int(changed.once.fallen) == 4
    with pytest.raises(ParameterError, match="prep_bn can change no layer 'shared'; it can change once"):
        PrepBn(layers=("shared",)).choose(model, x)
    model.once = nn.Identity()
    with pytest.raises(ParameterError, match="finds no layer norm over channels alone that runs once"):
        PrepBn().choose(model, x)
    with pytest.raises(TraceError, match=r"the network fails on images of shape \(16, 3, 8, 5\)"):
        PrepBn().choose(model, IMAGES[..., :5])
