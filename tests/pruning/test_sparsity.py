"""Every pattern takes an exact share of the weights, the least ones, and refuses layers that it does not fit."""

from itertools import combinations

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn.utils import parametrizations

from eyas.errors import ParameterError
from eyas.pruning.sparsity import Sparsity
from eyas.pruning.sparsity.n_m import NOfM
from eyas.pruning.sparsity.one_by_n import OneByN
from eyas.pruning.sparsity.unstructured import Unstructured

SHAPES = [(8, 16, 3, 3), (16, 8, 1, 1), (8, 24), (4, 8, 5)]


def random_weight(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", sorted(Sparsity.members()))
class TestContract:
    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_an_exact_share_of_the_weights_goes(self, kind, shape):
        sparsity, weight = Sparsity.parse(kind), random_weight(shape)
        before = weight.clone()
        mask = sparsity.mask(weight)
        assert mask.shape == weight.shape
        assert mask.dtype == torch.bool
        assert int((~mask).sum()) == round(sparsity.share * weight.numel())
        assert torch.equal(weight, before)

    def test_the_mask_of_a_masked_weight_is_the_same(self, kind):
        sparsity, weight = Sparsity.parse(kind), random_weight(SHAPES[0])
        mask = sparsity.mask(weight)
        assert torch.equal(sparsity.mask(weight * mask), mask)
        assert torch.equal(sparsity.mask(-3 * weight), mask)

    def test_more_magnitude_stays_than_goes(self, kind):
        weight = random_weight(SHAPES[0])
        mask = Sparsity.parse(kind).mask(weight)
        assert weight[mask].abs().mean() > weight[~mask].abs().mean()

    def test_several_layers_lose_the_share_together(self, kind):
        sparsity = Sparsity.parse(kind)
        weights = {str(shape): random_weight(shape, seed) for seed, shape in enumerate(SHAPES)}
        masks = sparsity.masks(weights)
        assert {name: mask.shape for name, mask in masks.items()} == {n: w.shape for n, w in weights.items()}
        total = sum(weight.numel() for weight in weights.values())
        assert sum(int((~mask).sum()) for mask in masks.values()) == round(sparsity.share * total)
        assert all(mask.any() for mask in masks.values())

    def test_a_channels_last_weight_has_the_same_mask(self, kind):
        weight = random_weight(SHAPES[0])
        mask = Sparsity.parse(kind).mask(weight)
        assert torch.equal(Sparsity.parse(kind).mask(weight.to(memory_format=torch.channels_last)), mask)

    def test_layers_without_a_plain_dense_weight_are_refused_in_words(self, kind):
        sparsity = Sparsity.parse(kind)
        assert sparsity.refusal(nn.Conv2d(16, 16, 3)) is None
        assert sparsity.refusal(nn.Linear(16, 16)) is None
        assert "depthwise" in sparsity.refusal(nn.Conv2d(16, 16, 3, groups=16))
        assert "only convolutions" in sparsity.refusal(nn.BatchNorm2d(16))
        assert "only convolutions" in sparsity.refusal(nn.ConvTranspose2d(16, 16, 3))
        assert "computed" in sparsity.refusal(parametrizations.weight_norm(nn.Conv2d(16, 16, 3)))


def n_m_by_brute_force(weight, n, m):
    """Per filter and kernel place, of every m inputs the n whose magnitudes have the largest sum."""
    mask = torch.zeros_like(weight, dtype=torch.bool)
    flat, kept = weight.flatten(2), mask.flatten(2)
    for o, start, k in torch.cartesian_prod(
        torch.arange(weight.shape[0]), torch.arange(0, weight.shape[1], m), torch.arange(flat.shape[2])
    ).tolist():
        group = range(start, start + m)
        best = max(combinations(group, n), key=lambda chosen: sum(abs(float(flat[o, i, k])) for i in chosen))
        for i in best:
            kept[o, i, k] = True
    return kept.reshape(weight.shape)


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (3, 8), (1, 2)])
@pytest.mark.parametrize("shape", [(3, 8, 3, 3), (4, 16, 1, 1)], ids=str)
def test_n_m_is_the_best_of_all_choices(n, m, shape):
    weight = random_weight(shape)
    mask = NOfM(n=n, m=m).mask(weight)
    assert torch.equal(mask, n_m_by_brute_force(weight, n, m))
    per_group = mask.movedim(1, -1).reshape(-1, m).sum(1)
    assert per_group.unique().tolist() == [n]


def test_n_m_keeps_n_of_equal_weights():
    assert NOfM().mask(torch.zeros(2, 8, 3, 3)).movedim(1, -1).reshape(-1, 4).sum(1).unique().tolist() == [2]


def one_by_n_by_brute_force(weight, n, zeros):
    """All blocks in a list, sorted by their sum of magnitudes."""
    blocks = {
        (i, c): float(weight[i : i + n, c].abs().sum())
        for i in range(0, weight.shape[0], n)
        for c in range(weight.shape[1])
    }
    mask = torch.ones_like(weight, dtype=torch.bool)
    for i, c in sorted(blocks, key=blocks.__getitem__)[: round(zeros * len(blocks))]:
        mask[i : i + n, c] = False
    return mask


@pytest.mark.parametrize("n", [1, 2, 4, 8])
@pytest.mark.parametrize("zeros", [0.25, 0.5, 0.8])
def test_one_by_n_takes_the_least_blocks(n, zeros):
    weight = random_weight((8, 6, 3, 3))
    mask = OneByN(n=n, zeros=zeros).mask(weight)
    assert torch.equal(mask, one_by_n_by_brute_force(weight, n, zeros))
    blocks = mask.reshape(8 // n, n, 6, 9).transpose(1, 2).flatten(2)
    assert torch.equal(blocks.any(2), blocks.all(2))


def test_one_by_one_takes_kernels_and_one_by_all_takes_input_channels():
    weight = random_weight((8, 6, 3, 3))
    kernels = OneByN(n=1).mask(weight).flatten(2)
    assert torch.equal(kernels.any(2), kernels.all(2))
    inputs = OneByN(n=8).mask(weight).transpose(0, 1).flatten(1)
    assert torch.equal(inputs.any(1), inputs.all(1))
    assert int(inputs.any(1).sum()) == 3
    assert set(inputs.any(1).nonzero().flatten().tolist()) == set(weight.abs().sum((0, 2, 3)).topk(3).indices.tolist())


def test_unstructured_compares_layers_or_treats_them_alike():
    weights = {"small": 0.01 * random_weight((8, 8, 3, 3)), "large": random_weight((8, 8, 3, 3), 1)}
    together = Unstructured(zeros=0.5).masks(weights)
    limit = torch.cat([weight.flatten().abs() for weight in weights.values()]).quantile(0.5)
    for name, weight in weights.items():
        assert torch.equal(together[name], weight.abs() > limit), name
    assert int(together["small"].sum()) < 20
    alone = Unstructured(zeros=0.5, scope="layer").masks(weights)
    assert [int(mask.sum()) for mask in alone.values()] == [288, 288]


def erk_densities(weights, kept):
    """The density of each layer, its one factor found by bisection."""
    raw = {name: sum(weight.shape) / weight.numel() for name, weight in weights.items()}
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        total = sum(min(1.0, middle * raw[name]) * weight.numel() for name, weight in weights.items())
        low, high = (middle, high) if total < kept else (low, middle)
    return {name: min(1.0, low * raw[name]) for name in weights}


@pytest.mark.parametrize("zeros", [0.1, 0.5, 0.8, 0.95])
def test_erk_keeps_more_of_small_layers_and_the_share_of_all(zeros):
    shapes = [(8, 4, 1, 1), (16, 16, 3, 3), (32, 16, 3, 3), (10, 32), (64, 64, 3, 3)]
    weights = {str(shape): random_weight(shape, seed) for seed, shape in enumerate(shapes)}
    total = sum(weight.numel() for weight in weights.values())
    masks = Unstructured(zeros=zeros, scope="erk").masks(weights)
    kept = sum(int(mask.sum()) for mask in masks.values())
    assert kept == total - round(zeros * total)
    for name, density in erk_densities(weights, kept).items():
        assert abs(int(masks[name].sum()) - density * weights[name].numel()) <= 1, name
        weight = weights[name].abs()
        assert not (~masks[name]).any() or weight[masks[name]].min() >= weight[~masks[name]].max()
    densities = [float(mask.float().mean()) for mask in masks.values()]
    assert densities[0] == 1  # it would pass 1
    assert densities[-1] == min(densities) < 1 - zeros


def test_erk_of_one_layer_is_that_layer_alone_and_of_blocks_counts_blocks():
    weight = random_weight((8, 8, 3, 3))
    assert torch.equal(OneByN(scope="erk").mask(weight), OneByN().mask(weight))
    weights = {"small": random_weight((8, 8, 1, 1)), "large": random_weight((32, 32, 3, 3), 1)}
    masks = OneByN(zeros=0.75, scope="erk").masks(weights)
    blocks = [mask.reshape(len(mask) // 4, 4, mask.shape[1], -1).transpose(1, 2).flatten(2) for mask in masks.values()]
    assert all(torch.equal(each.any(2), each.all(2)) for each in blocks)
    assert sum(int(each.any(2).sum()) for each in blocks) == (16 + 256) // 4
    assert masks["small"].float().mean() > 2 * masks["large"].float().mean()


def test_no_layer_loses_all_its_weights():
    weights = {"dead": torch.zeros(4, 4), "alive": random_weight((8, 8))}
    masks = Unstructured(zeros=0.75).masks(weights)
    assert int(masks["dead"].sum()) == 1
    assert sum(int(mask.sum()) for mask in masks.values()) == 20
    assert int(OneByN(zeros=0.99).mask(random_weight((4, 2, 3, 3))).sum()) == 36


@pytest.mark.parametrize(
    ("kind", "layer", "words"),
    [
        ("n_m", nn.Conv2d(6, 8, 3), "its 6 input channels are no multiple of 4"),
        ("n_m", nn.Linear(10, 8), "its 10 input channels are no multiple of 4"),
        ("one_by_n", nn.Conv2d(8, 6, 3), "its 6 filters are no multiple of 4"),
        ("one_by_n", nn.Linear(8, 10), "its 10 filters are no multiple of 4"),
    ],
)
def test_shapes_without_whole_groups_are_refused(kind, layer, words):
    assert Sparsity.parse(kind).refusal(layer) == words


def test_options_that_leave_no_zeros_or_nothing_else_are_refused():
    with pytest.raises(ValidationError, match="n 4 of m 4 leaves no zeros"):
        NOfM(n=4, m=4)
    for zeros in (0, 1):
        with pytest.raises(ValidationError):
            Unstructured(zeros=zeros)
    with pytest.raises(ParameterError, match="did you mean 'n_m'"):
        Sparsity.parse("nm")
