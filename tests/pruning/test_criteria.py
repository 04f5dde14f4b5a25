"""The contract of the criteria: finite, equivariant, the network untouched, zeros last; what norms compute."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import eyas
from eyas.errors import DataError, ParameterError, PlanError
from eyas.pruning.calibration_set import CalibrationSet
from eyas.pruning.criteria import Criterion
from eyas.pruning.criteria.bn_scale import BnScale
from eyas.pruning.criteria.consumer_norm import ConsumerNorm
from eyas.pruning.criteria.group_norm import GroupNorm
from eyas.pruning.criteria.image_criterion import ImageCriterion
from eyas.pruning.criteria.l1_norm import L1Norm
from eyas.pruning.criteria.l2_norm import L2Norm
from eyas.pruning.criteria.random import Random
from tests.pruning.networks import Bottleneck, conv_bn

KINDS = sorted(Criterion.registry)
LABELLED = [kind for kind in KINDS if "labels" in Criterion.registry[kind].model_fields]
NEED_IMAGES = [
    kind
    for kind, member in Criterion.members().items()
    if issubclass(member, ImageCriterion) and member.without_images is ImageCriterion.without_images
]
IMAGES = (torch.randn(2, 3, 8, 8, dtype=torch.float64),)
FLOATS = (torch.randn(2, 3, 8, 8),)
SEEN = CalibrationSet(
    torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64),
    torch.tensor([0, 1, 2, 0, 1, 2]),
)
CASES = [
    *(pytest.param({"kind": kind}, None, id=f"{kind}-weights") for kind in KINDS if kind not in NEED_IMAGES),
    *(pytest.param({"kind": kind}, SEEN.images, id=f"{kind}-images") for kind in KINDS),
    *(pytest.param({"kind": kind, "labels": True}, SEEN, id=f"{kind}-labels") for kind in LABELLED),
]
Data = Tensor | CalibrationSet | None


class Network(nn.Module):
    """Coupled, grouped and flattened channels; counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv_bn(3, 8, 3), Bottleneck(8, 6, 16, 2, g=2), Bottleneck(16, 6, 16))
        self.head = nn.Linear(16 * 16, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.head(self.body(x).flatten(1))


def network() -> nn.Module:
    torch.manual_seed(0)
    model = Network().double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, -1, 1)
    return model


@pytest.fixture(scope="module")
def space() -> eyas.SearchSpace:
    """Of every ``network()``: they are alike."""
    return eyas.trace(network(), IMAGES)


@pytest.mark.parametrize(("options", "data"), CASES)
def test_finite_shaped_and_without_side_effects(space: eyas.SearchSpace, options: dict[str, Any], data: Data) -> None:
    model = network()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.body[1].train()
    model.head.requires_grad_(False)
    flags = [module.training for module in model.modules()]
    criterion = Criterion.parse(options)
    prepared = criterion.prepare(model, data)
    for group in space.groups:
        importance = criterion(group, model, prepared)
        assert importance.shape == (group.channels,)
        assert torch.isfinite(importance).all()
        assert not importance.requires_grad
    assert torch.equal(importance, criterion(group, model, data)), "again, and from the images themselves"
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert [module.training for module in model.modules()] == flags
    asked = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    assert asked == {"head.weight", "head.bias"}
    assert all(weight.grad is None for weight in model.parameters())


def test_a_criterion_without_wishes_of_its_own_gets_the_images(space: eyas.SearchSpace) -> None:
    """Whatever a caller knows beside them: one of the user's own need not know of labels."""
    seen: list[Any] = []

    class Watching(Criterion):
        def __call__(self, group: eyas.ChannelGroup, model: nn.Module, data: Any = None) -> Tensor:
            seen.append(data)
            return torch.ones(group.channels)

    for data in (SEEN, SEEN.images, None):
        space.ranking(Watching(), data=data)
    images = seen[:: len(space.groups)]
    assert torch.equal(images[0], SEEN.images)
    assert torch.equal(images[1], SEEN.images)
    assert images[2] is None


@pytest.mark.parametrize("kind", NEED_IMAGES)
def test_without_the_images_that_it_needs_a_criterion_refuses(space: eyas.SearchSpace, kind: str) -> None:
    with pytest.raises(DataError, match=f"criterion {kind} rates channels on calibration images, and has none: give"):
        space.ranking(Criterion.parse(kind))


@pytest.mark.parametrize("data", [SEEN.images[:0], SEEN.images.byte(), [SEEN.images]], ids=["none", "bytes", "list"])
@pytest.mark.parametrize("kind", NEED_IMAGES)
def test_images_that_are_none_are_refused(space: eyas.SearchSpace, kind: str, data: Any) -> None:
    with pytest.raises(DataError, match=r"calibration images are .*: give one tensor \(N, C, H, W\)"):
        space.ranking(Criterion.parse(kind), data=data)


@pytest.mark.parametrize("kind", LABELLED)
def test_without_the_labels_that_it_reads_a_criterion_refuses(space: eyas.SearchSpace, kind: str) -> None:
    criterion = Criterion.parse({"kind": kind, "labels": True})
    assert criterion.reads_labels
    assert not Criterion.parse(kind).reads_labels
    with pytest.raises(DataError, match=f"criterion {kind} with labels: true has none of the calibration images"):
        space.ranking(criterion, data=SEEN.images)


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


@pytest.mark.parametrize(("options", "data"), [case for case in CASES if case.values[0]["kind"] != "random"])
def test_importance_moves_with_the_channels(space: eyas.SearchSpace, options: dict[str, Any], data: Data) -> None:
    model, criterion = network(), Criterion.parse(options)
    prepared = criterion.prepare(model, data)
    before = [criterion(group, model, prepared) for group in space.groups]
    generator = torch.Generator().manual_seed(1)
    orders = [torch.randperm(group.units, generator=generator) for group in space.groups]
    for group, order in zip(space.groups, orders, strict=True):
        permuted(model, space, group, order)
    prepared = criterion.prepare(model, data)
    for group, order, importance in zip(space.groups, orders, before, strict=True):
        after = criterion(group, model, prepared)
        units = torch.from_numpy(group.unit_of_channel)
        first = torch.tensor([int((units == unit).nonzero()[0]) for unit in range(group.units)])
        torch.testing.assert_close(after[first], importance[first][order])


@pytest.mark.parametrize(("options", "data"), [case for case in CASES if case.values[0]["kind"] != "random"])
def test_a_channel_of_zeros_in_every_layer_ranks_last(
    space: eyas.SearchSpace, options: dict[str, Any], data: Data
) -> None:
    model, criterion = network(), Criterion.parse(options)
    tensors = dict(model.named_parameters())
    for group in space.groups:
        for member in group.members:
            if member.parameter in tensors:
                dead = torch.from_numpy(member.positions[1])
                tensors[member.parameter].data.index_fill_(member.dim, dead, 0)
    prepared = criterion.prepare(model, data)
    for group in space.groups:
        importance = criterion(group, model, prepared)
        assert importance[torch.from_numpy(group.unit_of_channel) == 1].max() <= importance.min(), group.name


def test_one_layer_is_rated_by_its_filters() -> None:
    model = nn.Sequential(nn.Conv2d(3, 7, 3), nn.ReLU(), nn.Conv2d(7, 2, 1)).double()
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
    space = eyas.trace(model, FLOATS)
    expected = torch.tensor([1.0, 2.0, 3.0, 4.0]) / 2.5 + torch.tensor([8.0, 3.0, 2.0, 1.0]) / 3.5
    torch.testing.assert_close(L1Norm()(space.groups[0], model), expected.double())
    assert space.plan({"a": 3}).kept["a"] == (0, 2, 3)


def test_consumers_and_producers_each_have_a_say() -> None:
    model = Coupled()
    with torch.no_grad():
        model.a.weight.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1, 1, 1).expand(4, 3, 1, 1))
        model.b.weight.copy_(torch.tensor([4.0, 3.0, 2.0, 1.0]).view(4, 1, 1, 1).expand(4, 3, 1, 1))
        model.head.weight.copy_(torch.tensor([[3.0, 0.0, 6.0, 0.0], [4.0, 5.0, 8.0, 0.0]]).view(2, 4, 1, 1))
    space = eyas.trace(model, FLOATS)
    read, made = torch.tensor([5.0, 5.0, 10.0, 0.0]) / 5, torch.full((4,), 2.0)
    torch.testing.assert_close(ConsumerNorm()(space.groups[0], model), read.double())
    torch.testing.assert_close(GroupNorm()(space.groups[0], model), (read + made).double())


def test_bn_scale_reads_gamma() -> None:
    model = Coupled()
    with torch.no_grad():
        model.bn.weight.copy_(torch.tensor([-4.0, 1.0, 2.0, -1.0]))
    space = eyas.trace(model, FLOATS)
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
    for rated, what in (
        ([1.0] * 8, "a list"),
        (torch.ones(7), r"shape \(7,\)"),
        (torch.ones(8) / 0, "NaN or infinity"),
    ):

        class Giving(Broken):
            def __call__(self, group: object, model: nn.Module, data: object = None, rated: Any = rated) -> Any:
                return rated

        with pytest.raises(
            PlanError, match=f"criterion Giving must give 8 finite numbers for group 'body.0.0', .* gave {what}"
        ):
            space.plan(criterion=Giving())
    with pytest.raises(ParameterError, match="unknown criterion kind 'l3'"):
        Criterion.parse("l3")


def test_arrays_are_images_and_values_that_are_not_finite_are_refused(space: eyas.SearchSpace) -> None:
    images, labels = SEEN.images.numpy(), np.zeros(len(SEEN.images), np.int64)
    expected = space.ranking("weight_activation", data=SEEN.images)
    for data in (images, CalibrationSet(images, labels)):
        assert all(map(np.array_equal, space.ranking("weight_activation", data=data), expected))
    broken = SEEN.images.clone()
    broken[0, 0, 0, 0] = torch.inf
    for rated in (broken, broken.numpy()):
        with pytest.raises(DataError, match="`data` hold values that are not finite"):
            space.ranking("weight_activation", data=rated)
    with pytest.raises(DataError, match="`images` hold values that are not finite"):
        CalibrationSet(broken)
    with pytest.raises(DataError, match="`labels` is a list that is no tensor .*: give one integer each"):
        CalibrationSet(images, ["cat"] * len(images))
