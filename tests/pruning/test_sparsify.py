"""A network made sparse: which layers, what it says of the others, and what is left of the cost."""

import copy

import pytest
import torch
from torch import nn

import eyas
import models
from eyas.errors import ParameterError
from eyas.pruning.nonzero_cost import nonzero_cost
from eyas.pruning.sparsify import SparseLayers, apply_masks
from eyas.pruning.sparsity import Sparsity
from eyas.pruning.sparsity.one_by_n import OneByN
from tests.pruning.oracle import prepared


@pytest.fixture
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return prepared(models.build("resnet8", 10, width=8, in_channels=1))


@pytest.mark.parametrize("kind", sorted(Sparsity.members()))
def test_weights_are_zero_where_masks_say_so_and_as_they_were_elsewhere(model, kind):
    before = copy.deepcopy(model.state_dict())
    masks = eyas.sparsify(model, kind)
    for name, value in model.state_dict().items():
        expected = before[name] * masks[name] if name in masks else before[name]
        assert torch.equal(value, expected), name
    assert sum(int((~mask).sum()) for mask in masks.values()) > 0


@pytest.mark.parametrize("kind", ["unstructured", "one_by_n"])
def test_a_share_that_is_no_weight_is_refused(model, kind):
    with pytest.raises(ParameterError, match=f"`sparsity` {kind} takes none of [0-9]+ weights: "):
        eyas.sparsify(model, {"kind": kind, "zeros": 1e-9})


def test_blocks_are_sorted_first_where_the_space_is_known(model):
    space = eyas.trace(model, (torch.zeros(2, 1, 8, 8, dtype=torch.float64),))
    plain, moved = copy.deepcopy(model), copy.deepcopy(model)
    unsorted = eyas.sparsify(plain, {"kind": "one_by_n", "rearrange": False}, space=space)
    masks = eyas.sparsify(moved, "one_by_n", space=space)
    assert any(not torch.equal(mask, unsorted[name]) for name, mask in masks.items())
    kept = [sum(float(m.get_parameter(name).detach().abs().sum()) for name in masks) for m in (plain, moved)]
    assert kept[1] > kept[0]


def test_the_first_layer_ignored_ones_and_those_that_do_not_fit_stay_dense(model):
    layers = SparseLayers.choose(model, OneByN(ignore=("layer2.*",)))
    assert layers.dense == {
        "conv1": "it reads the images",
        "layer2.0.conv1": "ignored",
        "layer2.0.conv2": "ignored",
        "linear": "its 10 filters are no multiple of 4",
    }
    assert set(layers.weights) == {f"layer{n}.0.conv{c}.weight" for n in (1, 3) for c in (1, 2)}


def test_it_warns_where_most_weights_stay_dense(model, caplog):
    caplog.set_level("INFO")
    eyas.sparsify(copy.deepcopy(model), "n_m")
    eyas.sparsify(copy.deepcopy(model), {"kind": "n_m", "m": 32, "n": 16, "ignore": ["layer3.0.conv2"]})
    levels = [
        (record.levelname, record.getMessage()) for record in caplog.records if "sparsity:" in record.getMessage()
    ]
    assert [level for level, _ in levels] == ["INFO", "WARNING"]
    assert levels[1][1].startswith("sparsity: 1 layers with 2 % of the weights; 7 stay dense (conv1: it reads the")


def test_a_pattern_that_fits_nowhere_is_refused_with_reasons(model):
    with pytest.raises(ParameterError, match=r"`sparsity` n_m fits no layer .*its 8 input channels are no multiple"):
        eyas.sparsify(model, {"kind": "n_m", "n": 1, "m": 128})
    with pytest.raises(ParameterError, match=r"ignores 'fc', which is no layer; layers are: conv1, "):
        eyas.sparsify(model, {"kind": "unstructured", "ignore": ["fc"]})


def test_a_masked_infinity_is_zero():
    weights = {"w": torch.tensor([torch.inf, torch.nan, 2.0])}
    apply_masks(weights, {"w": torch.tensor([False, False, True])})
    assert weights["w"].tolist() == [0.0, 0.0, 2.0]


class Written(nn.Module):
    """A convolution on 8 x 8, a depthwise, a transposed one with stride, a linear layer: sums that are known."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.depthwise = nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=4)
        self.up = nn.ConvTranspose2d(4, 3, 2, stride=2)
        self.last = nn.Linear(3, 5)

    def forward(self, x):
        return self.last(self.up(self.depthwise(self.first(x))).mean((2, 3)))


def test_macs_are_counted_by_weights_that_are_not_zero():
    model, images = Written(), torch.zeros(3, 2, 8, 8)
    dense = nonzero_cost(model, images)
    assert dense.weights == dense.nonzero_weights == 72 + 36 + 48 + 15
    assert dense.nonzero_macs == 72 * 64 + 36 * 16 + 48 * 16 + 15
    with torch.no_grad():
        for layer, number in ((model.first, 10), (model.depthwise, 5), (model.up, 7), (model.last, 3)):
            layer.weight.flatten()[:number] = 0
    cost = nonzero_cost(model, images)
    assert cost.nonzero_weights == 171 - 25
    assert cost.nonzero_macs == 62 * 64 + 31 * 16 + 41 * 16 + 12
    assert cost.as_metrics() == {"layer_weights": 171, "nonzero_weights": 146, "nonzero_macs": cost.nonzero_macs}


def test_without_zeros_it_is_the_cost_of_the_space(model):
    images = torch.zeros(2, 1, 8, 8, dtype=torch.float64)
    assert nonzero_cost(model, images).nonzero_macs == eyas.trace(model, (images,)).cost().macs
