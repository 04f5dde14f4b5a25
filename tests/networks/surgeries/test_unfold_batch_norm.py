"""Unfolding: batch-norm with measured statistics behind convolutions, answers as before."""

import pytest
import torch
from torch import nn

import eyas
import models
from eyas.calibration.batchnorm import batch_norms
from eyas.errors import ParameterError
from eyas.networks.batch_norm_folding import fold_batch_norm
from eyas.networks.operated_network import operate
from eyas.networks.surgeries.unfold_batch_norm import UnfoldBatchNorm
from tests.networks.normalised_networks import Kinds, ReadsItsWeight, WithoutNorm, vary

IMAGES = torch.randn(300, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def unfolded(model: nn.Module, **options: object) -> nn.Module:
    return operate(model, [{"kind": "unfold_batch_norm", **options}], IMAGES).model


def test_answers_stay_and_the_network_itself_too() -> None:
    model = WithoutNorm().eval()
    names = list(model.state_dict())
    changed = unfolded(model)
    with torch.no_grad():
        assert torch.allclose(changed(IMAGES), model(IMAGES), atol=1e-5)
    assert list(model.state_dict()) == names


def test_which_convolutions_it_takes() -> None:
    assert [name for name, module in unfolded(WithoutNorm()).named_modules() if isinstance(module, nn.BatchNorm2d)] == [
        "stem.norm",
        "left.norm",
        "right.norm",
    ]  # not the one that runs twice, the one without a bias, or the one that answers


def test_statistics_are_those_of_what_each_convolution_makes() -> None:
    model = WithoutNorm().eval()
    changed = unfolded(model)
    with torch.no_grad():
        stem = nn.functional.conv2d(IMAGES, model.stem.weight, padding=1)
        x = torch.relu(stem + model.stem.bias[:, None, None])
        left = nn.functional.conv2d(x, model.left.weight, padding=1)
    for norm, made in ((changed.stem.norm, stem), (changed.left.norm, left)):
        assert torch.allclose(norm.running_mean, made.mean((0, 2, 3)), atol=1e-5)
        assert torch.allclose(norm.running_var, made.var((0, 2, 3)), rtol=1e-4)
    assert torch.allclose(changed.stem.norm.weight, (stem.var((0, 2, 3)) + 1e-5).sqrt(), rtol=1e-4)


def test_measuring_again_changes_no_answer() -> None:
    model = WithoutNorm().eval()
    surgery = UnfoldBatchNorm().choose(model, IMAGES[:2])
    changed = surgery.apply(model)
    with torch.no_grad():
        before = changed(IMAGES)
        for images in (IMAGES[:50] * 3 + 1, IMAGES):
            surgery.measure(changed, images)
            assert torch.allclose(changed(IMAGES), before, atol=1e-5)


def test_it_is_the_inverse_of_folding() -> None:
    model = vary(Kinds())
    folded = fold_batch_norm(model, IMAGES)
    changed = unfolded(folded)
    assert len(batch_norms(changed)) == len(batch_norms(model)) == 4
    again = fold_batch_norm(changed, IMAGES)
    for name in ("plain", "grouped", "depthwise", "up"):
        assert torch.allclose(again.get_submodule(f"{name}.conv").weight, getattr(folded, name).weight, atol=1e-5)
        assert torch.allclose(again.get_submodule(f"{name}.conv").bias, getattr(folded, name).bias, atol=1e-5)


def test_statistics_of_other_images_bring_the_spread_back() -> None:
    """What AdaBN rests on: contrast and brightness that every image shares no longer reach the next layer."""
    model = WithoutNorm().eval()
    changed, shifted = unfolded(model), 3 * IMAGES + 2
    eyas.recalibrate(changed, shifted, seed=None)
    with torch.no_grad():
        before, plain = model.stem(IMAGES), model.stem(shifted)
        inner, followed = (slice(None), slice(None), slice(1, -1), slice(1, -1)), changed.stem(shifted)
    assert float((followed[inner] - before[inner]).abs().max()) < 0.15 * float(
        (plain[inner] - before[inner]).abs().max()
    )


def test_dead_channels_and_options() -> None:
    model = WithoutNorm().eval()
    with torch.no_grad():
        model.left.weight[0] = 0
    changed = unfolded(model, layers=["l*", "right"], eps=1e-3)
    assert not isinstance(changed.stem, nn.Sequential)
    assert changed.right.norm.eps == 1e-3
    with torch.no_grad():
        assert torch.allclose(changed(IMAGES), model(IMAGES), atol=1e-5)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (models.build("resnet8", 10, width=4), {}, "finds no convolution with a bias and without a normalisation"),
        (nn.Sequential(nn.Conv2d(3, 4, 3)), {}, "finds no convolution"),
        (WithoutNorm(), {"layers": ["twice"]}, "can change no layer 'twice'; it can change stem, left, right"),
        (ReadsItsWeight(), {}, "fails with AttributeError.*give the layers to change"),
    ],
)
def test_what_is_refused(model: nn.Module, options: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        unfolded(model, **options)
