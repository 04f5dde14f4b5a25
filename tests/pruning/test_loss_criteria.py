"""Taylor, diagonal Fisher and LFH: against gates and masks by autograd, differences, exact curvatures, and limits."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy, one_hot

import eyas
from eyas.errors import DataError
from eyas.pruning.calibration_set import CalibrationSet
from eyas.pruning.criteria import Criterion
from eyas.pruning.criteria.diagonal_fisher import DiagonalFisher
from eyas.pruning.criteria.lfh import Lfh
from eyas.pruning.criteria.loss_gradients import loss_gradients
from eyas.pruning.criteria.taylor import Taylor
from tests.pruning.oracle import Mapped, prepared

IMAGES = torch.randn(6, 3, 5, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
LABELS = torch.tensor([0, 2, 1, 1, 0, 2])
SEEN = CalibrationSet(IMAGES, LABELS)


class Block(nn.Module):
    """Two layers make a stream, with a batch-norm each; a convolution and a flattened head read it."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.bn = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.inner, self.head = nn.Conv2d(4, 3, 3, padding=1), nn.Linear(7 * 25, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn(self.a(x)) + self.b(x))
        return self.head(torch.cat([y, torch.tanh(self.inner(y))], 1).flatten(1))


@pytest.fixture(scope="module")
def block() -> tuple[nn.Module, eyas.SearchSpace]:
    torch.manual_seed(0)
    model = prepared(Block())
    return model, eyas.trace(model, (IMAGES[:2],))


def gated(model: nn.Module, group: eyas.ChannelGroup, gate_U: Tensor, x: Tensor) -> Tensor:
    """The answers where every layer that reads a unit reads it times its gate."""
    weights = dict(model.named_parameters())
    for member in (member for member in group.members if member.role == "in"):
        entry = torch.ones(weights[member.parameter].shape[member.dim], dtype=torch.float64)
        entry = entry.index_put((torch.from_numpy(member.positions),), gate_U[:, None])
        shape = [-1 if dim == member.dim else 1 for dim in range(weights[member.parameter].ndim)]
        weights[member.parameter] = weights[member.parameter].detach() * entry.view(shape)
    return functional_call(model, weights, (x,))


def per_channel(group: eyas.ChannelGroup, rating_U: Tensor) -> Tensor:
    return rating_U[torch.from_numpy(group.unit_of_channel)]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_taylor_is_the_squared_slope_of_the_loss_at_gates_before_the_readers(batch_size: int, block: Any) -> None:
    model, space = block
    for group in space.groups:
        slopes = []
        for x, y in zip(IMAGES.split(batch_size), LABELS.split(batch_size), strict=True):
            gate = torch.ones(group.units, dtype=torch.float64, requires_grad=True)
            (slope,) = torch.autograd.grad(cross_entropy(gated(model, group, gate, x), y), gate)
            slopes.append(slope)
        expected = torch.stack(slopes).square().mean(0)
        importance = Taylor(labels=True, batch_size=batch_size)(group, model, SEEN)
        torch.testing.assert_close(importance, per_channel(group, expected))


def test_a_small_step_changes_the_loss_by_the_slope(block: Any) -> None:
    """By differences, without any gradient."""
    model, space = block
    group, step, losses = space.group("a"), 1e-5, []
    with torch.no_grad():
        for sign in (1, -1):
            gates = 1 + sign * step * torch.eye(group.units, dtype=torch.float64)
            losses.append(torch.stack([cross_entropy(gated(model, group, gate, IMAGES), LABELS) for gate in gates]))
    expected = ((losses[0] - losses[1]) / (2 * step)).square()
    importance = Taylor(labels=True, batch_size=len(IMAGES))(group, model, SEEN)
    torch.testing.assert_close(importance, per_channel(group, expected), rtol=1e-5, atol=1e-12)


def test_weights_that_something_is_computed_from_before_they_are_used_count_too() -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.w = nn.Conv2d(3, 4, 1), nn.Parameter(torch.randn(3, 4))

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.linear(torch.relu(self.a(x)).mean((2, 3)), 2 * self.w)

    model = prepared(Pooled())
    (group,) = eyas.trace(model, (IMAGES[:2],)).groups
    gate = torch.ones(4, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(cross_entropy(gated(model, group, gate, IMAGES), LABELS), gate)
    torch.testing.assert_close(Taylor(labels=True, batch_size=6)(group, model, SEEN), slope.square())


def removed(space: eyas.SearchSpace, group: eyas.ChannelGroup, unit: int) -> dict[str, Tensor]:
    """Where surgery takes weights away with a unit, as masks."""
    kept = [channel for channel in range(group.channels) if group.unit_of_channel[channel] != unit]
    plan = space.plan()
    plan = plan.model_copy(update={"kept": {**plan.kept, group.name: tuple(kept)}})
    masks = {}
    for name, dims in space.slices(plan).items():
        stays = torch.ones(space.layout.shapes[name])
        for dim, indices in dims.items():
            gone = sorted(set(range(stays.shape[dim])) - set(indices.tolist()))
            stays.index_fill_(dim, torch.tensor(gone, dtype=torch.long), 0)
        masks[name] = stays == 0
    return masks


def test_fisher_sums_over_everything_that_surgery_takes_away(block: Any) -> None:
    model, space = block
    weights = {name: weight.detach().clone().requires_grad_() for name, weight in model.named_parameters()}
    rises = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for x, y in zip(IMAGES.split(1), LABELS.split(1), strict=True):
        loss = cross_entropy(functional_call(model, weights, (x,)), y)
        for name, grad in zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True):
            rises[name] += 0.5 * weights[name].detach().square() * grad.square() / len(IMAGES)
    for group in space.groups:
        masks = [removed(space, group, unit) for unit in range(group.units)]
        sums = [sum(rises[name][mask].sum() for name, mask in gone.items() if name in rises) for gone in masks]
        assert {name for name in masks[0] if masks[0][name].any()} > {f"{group.name}.weight", "head.weight"}
        importance = DiagonalFisher(labels=True)(group, model, SEEN)
        torch.testing.assert_close(importance, per_channel(group, torch.stack(sums)))


def test_fisher_over_all_answers_is_the_curvature_of_the_divergence_from_the_dense_network() -> None:
    """What is promised without labels: the expectation over drawn classes is the Hessian's diagonal of the KL."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.Flatten(), nn.Linear(2 * 25, 3)).double()
    (group,) = eyas.trace(model, (IMAGES[:2],)).groups
    x, weight = IMAGES[:1], model[0].weight.detach()
    shares = model(x).softmax(1).detach()

    def divergence(flat: Tensor) -> Tensor:
        answers = functional_call(model, {"0.weight": flat.view_as(weight)}, (x,)).log_softmax(1)
        return (shares * (shares.log() - answers)).sum()

    curvature = torch.autograd.functional.hessian(divergence, weight.flatten()).diagonal().view_as(weight)
    exact = 0.5 * (weight.square() * curvature).sum((1, 2, 3))
    makers = Criterion.parse({"kind": "diagonal_fisher", "labels": True})
    each = [makers.prepare(model, CalibrationSet(x, torch.tensor([k])))["0.weight", 0] for k in range(3)]
    torch.testing.assert_close(sum(p * rise for p, rise in zip(shares[0], each, strict=True)), exact)
    assert group.units == len(exact)


def test_drawn_classes_are_as_likely_as_the_network_says() -> None:
    """One linear layer: the gradient at its bias is its answer minus the class that was drawn."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(75, 3)).double()
    model[1].weight.data.mul_(2)
    data = CalibrationSet(IMAGES[:1].expand(2000, -1, -1, -1))
    shares = model(IMAGES[:1]).softmax(1)[0].detach()
    gradients = loss_gradients(model, data, labels=False, batch_size=1, seed=5)
    drawn = torch.stack([shares - batch["1.bias"] for batch in gradients])
    assert torch.equal(drawn.round(), one_hot(drawn.argmax(1), 3).double())
    torch.testing.assert_close(drawn.mean(0), shares, atol=0.035, rtol=0)


@pytest.mark.parametrize("kind", ["taylor", "diagonal_fisher", "lfh"])
def test_a_seed_repeats_and_another_draws_anew(kind: str, block: Any) -> None:
    model, space = block
    first, again, other = (
        Criterion.parse({"kind": kind, "seed": seed})(space.groups[0], model, IMAGES) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_a_network_that_is_sure_of_what_it_says_has_no_slope_against_itself(block: Any) -> None:
    model, space = block
    sure = prepared(Block())
    sure.load_state_dict(model.state_dict())
    sure.head.weight.data *= 1e6
    for criterion in (Taylor(), DiagonalFisher()):
        assert criterion(space.group("a"), sure, IMAGES).max() < 1e-12


def exact_traces(model: nn.Module, name: str, images: Tensor) -> Tensor:
    """Of the curvature of the squared answers, per filter, from the whole Jacobian, mean over images."""
    weight = dict(model.named_parameters())[name].detach()

    def answers(w: Tensor) -> Tensor:
        return functional_call(model, {name: w}, (images,))

    return torch.autograd.functional.jacobian(answers, weight).square().sum((0, 1)).flatten(1).sum(1) / len(images)


def test_lfh_is_the_trace_times_the_mean_square_of_all_that_make_a_channel(block: Any) -> None:
    model, space = block
    expected = sum(
        exact_traces(model, f"{name}.weight", IMAGES) * layer.weight.detach().square().mean((1, 2, 3))
        for name, layer in (("a", model.a), ("b", model.b))
    )
    importance = Lfh(probes=400, batch_size=6)(space.group("a"), model, IMAGES)
    torch.testing.assert_close(importance, expected, rtol=0.15, atol=0)


def test_lfh_is_exact_for_one_value_and_knows_no_classes() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 9, 1)).double()
    (group,) = eyas.trace(model, (IMAGES[:2],)).groups
    expected = exact_traces(model, "0.weight", IMAGES) * model[0].weight.detach().square().mean((1, 2, 3))
    torch.testing.assert_close(Lfh(probes=1, batch_size=1)(group, model, IMAGES), expected)
    for criterion in (Taylor(), DiagonalFisher()):
        with pytest.raises(DataError, match=r"answers with shape \(1, 1\), and not with classes: take criterion lfh"):
            criterion(group, model, IMAGES)


def test_a_class_per_pixel_and_the_chosen_output_count() -> None:
    model = prepared(Mapped())
    group = eyas.trace(model, (IMAGES[:2],)).group("a")
    labels = torch.randint(0, 3, (6, 5, 5), generator=torch.Generator().manual_seed(0))
    labels[:, 0], labels[2] = -100, -100
    slopes = []
    for x, y in zip(IMAGES.split(1), labels.split(1), strict=True):
        gate = torch.ones(4, dtype=torch.float64, requires_grad=True)
        answers = model.head(torch.relu(model.a(x)) * gate[:, None, None])
        loss = cross_entropy(answers, y) if (y >= 0).any() else answers.sum() * 0
        slopes.append(torch.autograd.grad(loss, gate)[0])
    importance = Taylor(labels=True)(group, model, CalibrationSet(IMAGES, labels, "map"))
    torch.testing.assert_close(importance, torch.stack(slopes).square().mean(0))
    drawn = Taylor()(group, model, CalibrationSet(IMAGES, output="map"))
    assert drawn.min() > 0
    assert not torch.allclose(drawn, Taylor()(group, model, CalibrationSet(IMAGES)))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS[:5], r"5 labels of torch.int64 for 6 images"),
        (LABELS.double(), r"6 labels of torch.float64"),
        (LABELS + 1, "labels hold 3, the network answers with classes 0 to 2"),
        (one_hot(LABELS), r"labels of 6 images have shape \(6, 3\), the answers ask for \(6,\)"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: Tensor, message: str, block: Any) -> None:
    model, space = block
    with pytest.raises(DataError, match=message):
        space.ranking(Taylor(labels=True, batch_size=6), model=model, data=CalibrationSet(IMAGES, labels))


@pytest.mark.parametrize("kind", ["taylor", "diagonal_fisher", "lfh"])
def test_a_network_that_computes_without_gradients_is_refused(kind: str) -> None:
    class Closed(Block):
        @torch.no_grad()
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

    model = prepared(Closed())
    group = eyas.trace(model, (IMAGES[:2],)).groups[0]
    with pytest.raises(DataError, match="Closed computes without gradients: take a criterion that asks for none"):
        Criterion.parse(kind)(group, model, IMAGES)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_a_caller_without_gradients_gets_the_same(context: Callable[[], Any], block: Any) -> None:
    model, space = block
    expected = Taylor()(space.groups[0], model, IMAGES)
    with context():
        images = IMAGES * 1.0
        assert torch.equal(Taylor()(space.groups[0], model, images), expected)
