"""The contract of the criteria: finite, equivariant, weights untouched; and what each one computes."""

import pytest
import torch
from torch import Tensor, nn

import eyas
from eyas.errors import ParameterError, PlanError
from eyas.pruning.criteria import Criterion
from eyas.pruning.criteria.bn_scale import BnScale
from eyas.pruning.criteria.consumer_norm import ConsumerNorm
from eyas.pruning.criteria.group_norm import GroupNorm
from eyas.pruning.criteria.l1_norm import L1Norm
from eyas.pruning.criteria.l2_norm import L2Norm
from eyas.pruning.criteria.random import Random
from tests.pruning.networks import Bottleneck, conv_bn

KINDS = sorted(Criterion.registry)


def network() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        conv_bn(3, 8, 3), Bottleneck(8, 6, 16, 2, g=2), Bottleneck(16, 6, 16), nn.Flatten(), nn.Linear(16 * 16, 3)
    )
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, -1, 1)
    return model


IMAGES = (torch.randn(2, 3, 8, 8),)


DATA = [None, torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(2))]


@pytest.mark.parametrize("data", DATA, ids=["weights", "images"])
@pytest.mark.parametrize("kind", KINDS)
def test_finite_shaped_and_without_side_effects(kind: str, data: Tensor | None) -> None:
    model = network()
    space, before = eyas.trace(model, IMAGES), {k: v.clone() for k, v in model.state_dict().items()}
    criterion = Criterion.parse(kind)
    for group in space.groups:
        importance = criterion(group, model, data)
        assert importance.shape == (group.channels,)
        assert torch.isfinite(importance).all()
        assert torch.equal(importance, criterion(group, model, criterion.prepare(model, data)))
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def permuted(model: nn.Module, space: eyas.SearchSpace, group: eyas.ChannelGroup, order: Tensor) -> nn.Module:
    """The same function with a group's units in another order."""
    with torch.no_grad():
        tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        for member in group.members:
            tensor, positions = tensors[member.parameter], torch.from_numpy(member.positions)
            index = torch.arange(tensor.shape[member.dim])
            index[positions.ravel()] = positions[order].ravel()
            tensor.copy_(tensor.index_select(member.dim, index))
    return model


@pytest.mark.parametrize("data", DATA, ids=["weights", "images"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "random"])
def test_importance_moves_with_the_channels(kind: str, data: Tensor | None) -> None:
    model, criterion = network(), Criterion.parse(kind)
    space = eyas.trace(model, IMAGES)
    for group in space.groups:
        order = torch.randperm(group.units, generator=torch.Generator().manual_seed(1))
        before = criterion(group, model, data)
        after = criterion(group, permuted(model, space, group, order), data)
        units = torch.from_numpy(group.unit_of_channel)
        first = torch.tensor([int((units == unit).nonzero()[0]) for unit in range(group.units)])
        torch.testing.assert_close(after[first], before[first][order])


def test_one_layer_is_rated_by_its_filters() -> None:
    model = nn.Sequential(nn.Conv2d(3, 7, 3), nn.ReLU(), nn.Conv2d(7, 2, 1))
    space = eyas.trace(model, IMAGES)
    weight = model[0].weight.detach()
    for criterion, norms in (
        (L1Norm(), weight.abs().sum((1, 2, 3))),
        (L2Norm(), weight.square().sum((1, 2, 3)).sqrt()),
    ):
        torch.testing.assert_close(criterion(space.groups[0], model), (norms / norms.mean()).double())


class Coupled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 4, 1, bias=False), nn.Conv2d(3, 4, 1, bias=False), nn.Conv2d(4, 2, 1)
        self.bn = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.bn(self.a(x)) + self.b(x))


def test_all_producers_of_a_coupled_group_have_a_say() -> None:
    """``a`` alone would drop channel 0, ``b`` alone channel 3 though its scale is a hundred times larger."""
    model = Coupled()
    with torch.no_grad():
        model.a.weight.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1, 1, 1).expand(4, 3, 1, 1))
        model.b.weight.copy_(100 * torch.tensor([8.0, 3.0, 2.0, 1.0]).view(4, 1, 1, 1).expand(4, 3, 1, 1))
    space = eyas.trace(model, IMAGES)
    expected = torch.tensor([1.0, 2.0, 3.0, 4.0]) / 2.5 + torch.tensor([8.0, 3.0, 2.0, 1.0]) / 3.5
    torch.testing.assert_close(L1Norm()(space.groups[0], model), expected.double())
    assert space.plan({"a": 3}).kept["a"] == (0, 2, 3)


def test_consumers_and_producers_each_have_a_say() -> None:
    model = Coupled()
    with torch.no_grad():
        model.a.weight.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1, 1, 1).expand(4, 3, 1, 1))
        model.b.weight.copy_(torch.tensor([4.0, 3.0, 2.0, 1.0]).view(4, 1, 1, 1).expand(4, 3, 1, 1))
        model.head.weight.copy_(torch.tensor([[3.0, 0.0, 6.0, 0.0], [4.0, 5.0, 8.0, 0.0]]).view(2, 4, 1, 1))
    space = eyas.trace(model, IMAGES)
    read, made = torch.tensor([5.0, 5.0, 10.0, 0.0]) / 5, torch.full((4,), 2.0)
    torch.testing.assert_close(ConsumerNorm()(space.groups[0], model), read.double())
    torch.testing.assert_close(GroupNorm()(space.groups[0], model), (read + made).double())


def test_bn_scale_reads_gamma() -> None:
    model = Coupled()
    with torch.no_grad():
        model.bn.weight.copy_(torch.tensor([-4.0, 1.0, 2.0, -1.0]))
    space = eyas.trace(model, IMAGES)
    torch.testing.assert_close(BnScale()(space.groups[0], model), torch.tensor([2.0, 0.5, 1.0, 0.5]).double())
    assert space.plan({"a": 2}, BnScale()).kept["a"] == (0, 2)


def test_random_repeats_by_seed_and_differs_between_groups() -> None:
    space = eyas.trace(network(), IMAGES)
    first, second = space.groups[-2], space.groups[-1]
    assert torch.equal(Random(seed=1)(first, space.model), Random(seed=1)(first, space.model))
    assert not torch.equal(Random(seed=1)(first, space.model), Random(seed=2)(first, space.model))
    assert not torch.equal(Random(seed=1)(first, space.model)[:3], Random(seed=1)(second, space.model)[:3])


def test_a_faulty_criterion_and_an_unknown_kind_are_refused() -> None:
    class Broken(Criterion):
        def __call__(self, group: object, model: nn.Module, data: object = None) -> Tensor:
            return torch.full((2,), float("nan"))

    space = eyas.trace(network(), IMAGES)
    with pytest.raises(PlanError, match="must give 8 finite numbers"):
        space.plan(criterion=Broken())
    with pytest.raises(ParameterError, match="unknown criterion kind 'l3'"):
        Criterion.parse("l3")
