"""Criteria of filters among those of their layer: pair by pair, by brute force, and what must not matter."""

from math import exp, log
from statistics import median

import pytest
import torch
from torch import Tensor, nn

import eyas
from eyas.pruning.criteria import Criterion
from eyas.pruning.criteria.filter_similarity import FilterSimilarity, similarity_shares
from eyas.pruning.criteria.geometric_median import GeometricMedian
from eyas.pruning.criteria.l2_norm import L2Norm
from eyas.pruning.criteria.lamp import Lamp

IMAGES = (torch.randn(2, 3, 8, 8, dtype=torch.float64),)


class Coupled(nn.Module):
    """Two layers make the channels of one group."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 7, 3, padding=1), nn.Conv2d(3, 7, 1), nn.Conv2d(7, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.a(x) + self.b(x)))


@pytest.fixture(scope="module")
def space() -> eyas.SearchSpace:
    torch.manual_seed(0)
    return eyas.trace(Coupled().double(), IMAGES)


def network() -> Coupled:
    torch.manual_seed(1)
    return Coupled().double()


def rated(criterion: Criterion, space: eyas.SearchSpace, model: nn.Module) -> list[float]:
    return criterion(space.group("a"), model).tolist()


def filters(layer: nn.Conv2d) -> list[list[float]]:
    return layer.weight.detach().flatten(1).tolist()


def distances(rows: list[list[float]]) -> list[float]:
    """Of each row to all, one number after the other."""
    return [sum(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5 for b in rows) for a in rows]


def shares(rows: list[list[float]]) -> list[float]:
    """As LAMP has them: sorted by size, each over the sum from its place on."""
    squares = [sum(x * x for x in row) for row in rows]
    order = sorted(range(len(rows)), key=squares.__getitem__)
    return [squares[u] / sum(squares[v] for v in order[order.index(u) :]) for u in range(len(rows))]


def test_distances_to_all_filters_of_each_layer_are_summed(space: eyas.SearchSpace) -> None:
    model = network()
    model.b.weight.data *= 100
    parts = [distances(filters(layer)) for layer in (model.a, model.b)]
    expected = [sum(part[c] / (sum(part) / 7) for part in parts) for c in range(7)]
    assert rated(GeometricMedian(), space, model) == pytest.approx(expected)


def test_what_all_filters_have_in_common_does_not_matter(space: eyas.SearchSpace) -> None:
    model, before = network(), rated(GeometricMedian(), space, network())
    model.a.weight.data += torch.randn(3, 3, 3, dtype=torch.float64)
    assert rated(GeometricMedian(), space, model) == pytest.approx(before)
    assert rated(L2Norm(), space, model) != pytest.approx(before, rel=0.05)


def test_the_filter_at_the_median_goes_first_and_copies_are_alike(space: eyas.SearchSpace) -> None:
    """On a line the geometric median is the middle number, however large it is."""
    model, numbers = network(), torch.tensor([1.0, 10, 10.5, 11, 12, 12, 20], dtype=torch.float64)
    for layer in (model.a, model.b):
        layer.weight.data.zero_()
        layer.weight.data[:, 0, 0, 0] = numbers
    importance = rated(GeometricMedian(), space, model)
    assert importance.index(min(importance)) == 3
    assert importance[4] == importance[5]


def test_squares_over_the_sum_of_those_no_smaller(space: eyas.SearchSpace) -> None:
    model = network()
    parts = [shares(filters(layer)) for layer in (model.a, model.b)]
    assert rated(Lamp(), space, model) == pytest.approx([sum(pair) for pair in zip(*parts, strict=True)])
    assert [max(part) for part in parts] == [1, 1]


def test_the_scale_of_a_layer_does_not_matter(space: eyas.SearchSpace) -> None:
    model = network()
    model.a.weight.data *= 1000
    for criterion in (Lamp(), GeometricMedian()):
        assert rated(criterion, space, model) == pytest.approx(rated(criterion, space, network()))


def test_within_one_layer_shares_order_as_norms_do_and_equal_ones_are_equal(space: eyas.SearchSpace) -> None:
    model = network()
    model.b.weight.data.zero_()
    norms, importance = rated(L2Norm(), space, model), rated(Lamp(), space, model)
    assert sorted(range(7), key=norms.__getitem__) == sorted(range(7), key=importance.__getitem__)
    model.a.weight.data[3] = -model.a.weight.data[5]
    importance = rated(Lamp(), space, model)
    assert importance[3] == importance[5]
    model.a.weight.data.zero_()
    assert rated(Lamp(), space, model) == [0] * 7


def test_shares_say_between_groups_what_norms_do_not() -> None:
    """One threshold over all groups: with norms the wide layer loses its channels, or the large one keeps all."""
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1)).double()
    first = torch.tensor([1.0, 2, 3, 4], dtype=torch.float64)
    for layer, scale in ((model[0], 1.0), (model[2], 50.0)):
        layer.weight.data.zero_()
        layer.weight.data[:, 0, 0, 0] = scale * first
    space = eyas.trace(model, IMAGES)
    ratings = [Lamp()(group, model).tolist() for group in space.groups]
    assert ratings[0] == pytest.approx([1 / 30, 4 / 29, 9 / 25, 1])
    assert ratings[1] == pytest.approx(ratings[0])


def divergences(rows: list[list[float]], sharpness: float) -> list[float]:
    """DCFF's importance, one number after the other."""
    apart = [[sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5 for b in rows] for a in rows]
    usual = median(apart[j][k] for j in range(len(rows)) for k in range(len(rows)) if j != k)
    scaled = [[exp(-sharpness * distance / usual) for distance in line] for line in apart]
    shares = [[value / sum(line) for value in line] for line in scaled]
    return [
        sum(sum(p * log(p / (q + 1e-7)) for p, q in zip(own, other, strict=True)) / len(rows) for other in shares)
        for own in shares
    ]


def test_similarities_to_all_filters_are_compared_pair_by_pair(space: eyas.SearchSpace) -> None:
    model = network()
    parts = [divergences(filters(layer), 2.0) for layer in (model.a, model.b)]
    expected = [sum(part[c] / (sum(part) / 7) for part in parts) for c in range(7)]
    assert rated(FilterSimilarity(sharpness=2), space, model) == pytest.approx(expected)


@pytest.mark.parametrize("sharpness", [1e-3, 1, 100, 1e4])
def test_similarities_are_shares_and_the_rating_is_finite_at_any_sharpness(
    space: eyas.SearchSpace, sharpness: float
) -> None:
    shares = similarity_shares(network().a.weight, sharpness)
    assert shares.sum(1).tolist() == pytest.approx([1] * 7)
    assert all(0 <= number < float("inf") for number in rated(FilterSimilarity(sharpness=sharpness), space, network()))
    alike = network()
    for layer in (alike.a, alike.b):
        layer.weight.data[:] = 1.0
    assert rated(FilterSimilarity(sharpness=sharpness), space, alike) == pytest.approx([0] * 7, abs=1e-4)


def test_sharp_similarities_pick_and_blunt_ones_are_the_mean() -> None:
    weight = network().a.weight.detach()
    assert torch.allclose(similarity_shares(weight, 1e4), torch.eye(7, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(similarity_shares(weight, 1e-9), torch.full((7, 7), 1 / 7, dtype=torch.float64), atol=1e-6)


def test_a_copy_is_rated_as_the_filter_it_copies_and_below_those_that_are_unlike(space: eyas.SearchSpace) -> None:
    model = network()
    for layer in (model.a, model.b):
        layer.weight.data[5] = layer.weight.data[2]
    importance = rated(FilterSimilarity(), space, model)
    assert importance[5] == pytest.approx(importance[2])
    shares = similarity_shares(model.a.weight, 1.0)
    assert torch.allclose(shares[5], shares[2])
    assert torch.allclose(shares[:, 5], shares[:, 2])
