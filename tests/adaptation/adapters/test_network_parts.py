"""Where a network can be cut, and its parts one by one against the whole."""

import copy

import pytest
import torch
from torch import nn

import models
from eyas.adaptation.adapters.network_parts import NetworkParts, all_paths_pass, cut_points


def names(model, cuts):
    of = {module: name for name, module in model.named_modules()}
    return [of[cut] for cut in cuts]


@pytest.fixture
def frozen(model):
    return model.requires_grad_(requires_grad=False)


def test_all_paths_pass_stages_and_not_branches(frozen, source):
    expected = {"conv1": True, "norm1": True, "conv2": False, "norm2": False, "norm3": True, "linear": True}
    for name, passed in expected.items():
        assert all_paths_pass(frozen, frozen.get_submodule(name), source[:2]) is passed, name


def test_parts_end_behind_equally_many_layers(frozen, source):
    assert names(frozen, cut_points(frozen, source[:2], 3)) == ["norm1", "norm3"]
    assert names(frozen, cut_points(frozen, source[:2], 1)) == ["norm3"]


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        ("resnet20", ["layer1.1", "layer2.1", "layer3.0", "layer3"]),
        ("resnet18", ["layer1", "layer2", "layer3", "layer4"]),
        ("mobilenet_v2", ["features.5", "features.9", "features.13", "features"]),
    ],
)
def test_networks_are_cut_behind_blocks_and_stages(architecture, expected):
    network = models.build(architecture, 10).eval().requires_grad_(requires_grad=False)
    assert names(network, cut_points(network, torch.randn(2, 3, 32, 32), 4)) == expected


def test_layers_that_are_called_twice_and_networks_of_two_paths_are_not_cut(source):
    norm = nn.BatchNorm2d(3)
    twice = nn.Sequential(norm, nn.ReLU(), norm, nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    twice.requires_grad_(requires_grad=False)
    assert names(twice, cut_points(twice, source[:2], 3)) == ["3"]
    assert cut_points(TwoPaths().eval().requires_grad_(requires_grad=False), source[:2], 3) == []


class TwoPaths(nn.Module):
    """Two branches from the images to the answer."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, images):
        return (self.left(images) + self.right(images)).mean((2, 3))


def test_parts_one_by_one_give_the_answer_of_the_whole(frozen, source):
    parts = NetworkParts(frozen, cut_points(frozen, source[:2], 3))
    output = source
    for number in range(len(parts.cuts) + 1):
        output = parts.run(source, number, output)
    assert torch.equal(output, frozen(source))


def test_a_part_begins_at_its_inputs_and_gradients_go_back_to_them(frozen, source):
    parts = NetworkParts(frozen, cut_points(frozen, source[:2], 3))
    inputs = torch.randn(4, 8, 8, 8, requires_grad=True)
    parts.run(source[:4], 1, inputs).sum().backward()
    own = inputs.detach().clone().requires_grad_()
    shallow = own.relu()
    frozen.norm3(frozen.conv3((shallow + frozen.norm2(frozen.conv2(shallow))).relu())).sum().backward()
    torch.testing.assert_close(inputs.grad, own.grad)


def test_hooks_are_gone_also_after_an_error(frozen, source):
    parts = NetworkParts(frozen, cut_points(frozen, source[:2], 3))
    before = copy.deepcopy(frozen.state_dict())
    with pytest.raises(RuntimeError, match="channels"):
        parts.run(source[:, :1], 0, source)
    assert not any(module._forward_hooks for module in frozen.modules())
    assert all(torch.equal(value, before[name]) for name, value in frozen.state_dict().items())
