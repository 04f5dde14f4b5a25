"""Architectures against published costs, torchvision's names and public checkpoints."""

import os
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import models
from models.layers import ChannelPad, make_divisible

SMALL = [name for name in models.names() if name.endswith("_cifar") or name in ("resnet8", "resnet20")]


def count_macs(model, image):
    """Multiply-adds of convolutions and linear layers for one image, counted by PyTorch itself."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(image)
    return counter.get_total_flops() // 2


def count_params(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "size", "params", "macs"),
    [
        ("resnet18", 224, 11_689_512, 1_814_073_344),
        ("resnet50", 224, 25_557_032, 4_089_184_256),
        ("mobilenet_v1", 224, 4_231_976, 568_740_352),
        ("mobilenet_v2", 224, 3_504_872, 300_774_272),
        ("vgg11_bn", 224, 132_868_840, 7_609_090_048),
    ],
)
def test_published_cost_imagenet(name, size, params, macs):
    with torch.device("meta"):
        model = models.build(name, 1000)
        assert count_params(model) == params
        assert count_macs(model, torch.empty(1, 3, size, size)) == macs


def test_vgg16_params_are_torchvisions():
    with torch.device("meta"):
        assert count_params(models.build("vgg16_bn", 1000)) == 138_365_992


@pytest.mark.parametrize(
    ("name", "params", "mmacs"),
    # parameters in millions as table 6 of arXiv:1512.03385 prints them
    [
        ("resnet20", 0.27, 40.55),
        ("resnet32", 0.46, None),
        ("resnet44", 0.66, None),
        ("resnet56", 0.85, 125.49),
    ],
)
def test_published_cost_cifar(name, params, mmacs):
    model = models.build(name, 10)
    assert round(count_params(model) / 1e6, 2) == params
    if mmacs is not None:
        assert count_macs(model, torch.zeros(1, 3, 32, 32)) / 1e6 == pytest.approx(mmacs, abs=0.01)


def test_resnet110_params():
    with torch.device("meta"):
        assert round(count_params(models.build("resnet110", 10)) / 1e6, 1) == 1.7


@pytest.mark.parametrize("name", SMALL)
def test_small_image_networks_answer_and_learn(name):
    torch.manual_seed(0)
    model = models.build(name, 7)
    logits = model(torch.randn(4, 3, 32, 32))
    assert logits.shape == (4, 7)
    logits.square().sum().backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    assert sum(float(gradient.abs().sum()) for gradient in gradients) > 0


def test_digits_shape():
    assert models.build("resnet8", 10, width=8, in_channels=1)(torch.randn(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "resnet50",
            [
                "conv1.weight",
                "bn1.running_var",
                "layer1.0.conv3.weight",
                "layer4.0.downsample.1.bias",
                "fc.bias",
            ],
        ),
        ("resnet18", ["layer2.0.downsample.0.weight", "layer4.1.bn2.weight"]),
        (
            "vgg16_bn",
            ["features.0.weight", "features.1.running_mean", "features.40.weight", "classifier.6.bias"],
        ),
        ("vgg16_bn_cifar", ["features.40.weight", "classifier.0.weight", "classifier.6.bias"]),
        (
            "mobilenet_v2",
            [
                "features.0.0.weight",
                "features.1.conv.1.weight",
                "features.17.conv.3.bias",
                "features.18.1.weight",
                "classifier.1.bias",
            ],
        ),
        ("resnet20", ["conv1.weight", "layer3.2.bn2.running_var", "linear.weight"]),
    ],
)
def test_state_dict_names(name, expected):
    with torch.device("meta"):
        assert set(expected) <= set(models.build(name, 10).state_dict())


def test_unknown_name_lists_what_exists():
    with pytest.raises(ValueError, match=r"'resnet21'.*mobilenet_v1.*resnet20.*vgg16_bn"):
        models.build("resnet21", 10)


def test_names_are_complete():
    assert {"resnet8", "resnet110", "vgg11_bn", "vgg16_bn", "mobilenet_v1", "mobilenet_v2"} <= set(models.names())
    assert models.names() == sorted(models.names())


def test_channel_pad_is_option_a():
    x = torch.randn(2, 3, 5, 4)
    y = ChannelPad(1, 2, stride=2)(x)
    assert y.shape == (2, 6, 3, 2)
    for n, c, h, w in [(0, 0, 0, 0), (1, 2, 2, 1), (1, 1, 1, 0)]:
        assert y[n, c + 1, h, w] == x[n, c, 2 * h, 2 * w]
    assert not y[:, 0].any()
    assert not y[:, 4:].any()


@pytest.mark.parametrize(("channels", "expected"), [(32, 32), (3, 8), (12, 16), (11, 16), (19, 24), (24 * 0.75, 24)])
def test_make_divisible(channels, expected):
    # by the rule's own words: the nearest multiple of 8 (ties up), never below 90 %
    assert make_divisible(channels) == expected


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["resnet20-12fca82f", "resnet56-4bfd9763"])
def test_public_checkpoints_load_strictly(name):
    if "EYAS_DATA" not in os.environ:
        pytest.skip("EYAS_DATA does not say where the checkpoints are")
    path = Path(os.environ["EYAS_DATA"]) / "weights" / f"{name}.th"
    content = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
    model = models.build(name.split("-")[0], 10)
    model.load_state_dict({key.removeprefix("module."): value for key, value in content.items()}, strict=True)
    assert torch.equal(model.linear.weight, content["module.linear.weight"])


def test_a_unet_answers_every_pixel_at_the_published_size():
    # Ronneberger et al. 2015, figure 1: 64 channels, 4 halvings. 31 M parameters, here with batch-norm, without biases
    with torch.device("meta"):
        model = models.build("unet", 2, width=64, depth=4, in_channels=1)
        assert model(torch.empty(1, 1, 64, 64)).shape == (1, 2, 64, 64)
        assert round(count_params(model) / 1e6) == 31
        convolutions = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.ConvTranspose2d)]
    assert len(convolutions) == 23  # "In total the network has 23 convolutional layers" (section 2)


def test_a_unet_learns_and_can_be_pruned_whole():
    import eyas

    torch.manual_seed(0)
    model = models.build("unet", 3, width=4, depth=2)
    images = torch.randn(2, 3, 16, 16)
    model(images).square().sum().backward()
    assert all(float(parameter.grad.abs().sum()) > 0 for parameter in model.parameters())
    space = eyas.trace(model.eval(), (images,))
    assert {name for frozen in space.frozen for name in frozen.layers} == {"head"}
    plan = space.plan({group.name: max(1, group.channels // 2) for group in space.groups})
    eyas.check_parity(model, space, plan, (images,)).require(1e-5)
