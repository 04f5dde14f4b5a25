"""Sampler by learned thresholds: what a threshold does to a network, what is learned, what is proposed and refused."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import eyas
from eyas.errors import BudgetError, DataError, ParameterError
from eyas.pruning.gate_training import GateBatch, answer_loss
from eyas.pruning.gated_network import GatedNetwork, cost_share
from eyas.pruning.surgery import prune
from eyas.sampling.budget import Budget
from eyas.sampling.placement import Placement
from eyas.sampling.samplers import Sampler
from eyas.sampling.samplers.learned_thresholds import LearnedThresholdsSampler
from eyas.sampling.threshold_gates import ThresholdGates, limits_of, threshold_gates
from eyas.sampling.width_trajectory import WidthTrajectory
from tests.pruning.networks import Bottleneck, conv_bn
from tests.pruning.oracle import ReadByNoLayer, prepared
from tests.sampling.latencies import Aligned
from tests.sampling.spaces import Chain, learned_widths

IMAGES = torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.arange(32) % 3
DEEP = Chain([16] * 7 + [32] * 6 + [64] * 6)
SHORT = LearnedThresholdsSampler(steps=8, batch_size=16)
METRICS = ("macs", "params", "activation_bytes")


@pytest.fixture(scope="module")
def block() -> tuple[nn.Module, eyas.SearchSpace]:
    torch.manual_seed(0)
    layers = conv_bn(3, 8, 3, 2), Bottleneck(8, 6, 16, 2, g=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3)
    model = prepared(nn.Sequential(*layers))
    return model, eyas.trace(model, (IMAGES[:1],))


class Branches(nn.Module):
    """Two branches alike, of which the answers need one: the other's channels are read by weights near zero."""

    def __init__(self, *, norm: bool = True) -> None:
        super().__init__()
        self.a, self.b = (nn.Sequential(nn.Conv2d(3, 16, 3), *[nn.BatchNorm2d(16)] * norm) for _ in range(2))
        self.head = nn.Linear(32, 3)
        with torch.no_grad():
            self.head.weight[:, :16] *= 20
            self.head.weight[:, 16:] *= 0.01

    def forward(self, x: Tensor) -> Tensor:
        a, b = (torch.relu(branch(x)).mean((2, 3)) for branch in (self.a, self.b))
        return self.head(torch.cat([a, b], 1))


def made(model: nn.Module, space: eyas.SearchSpace, share: float = 0.5) -> tuple[GatedNetwork, ThresholdGates]:
    """Gates of the dense network, before any step."""
    network, budget = GatedNetwork(model, space), Budget.of(space, "macs", share)
    network(IMAGES, torch.ones(network.units, dtype=torch.float64))
    planner = space.planner("l1_norm")
    return network, threshold_gates(network, model, Placement(space, budget), planner, SHORT)


def batch(answers: Tensor, progress: float = 0.0) -> GateBatch:
    return GateBatch(IMAGES, answers, LABELS, progress, torch.Generator())


def measure(model: nn.Module, space: eyas.SearchSpace, limits: Any = None, **options: Any) -> WidthTrajectory:
    sampler = SHORT.model_copy(update=options)
    budget = Budget.parse(space, limits or {"macs": 0.5})
    labels = LABELS if sampler.labels else None
    return sampler.measure(model, space, space.planner("l1_norm"), IMAGES, labels=labels, budget=budget)


def everything(model: nn.Module) -> bytes:
    tensors = [tensor.detach().numpy().tobytes() for tensor in model.state_dict().values()]
    flags = [*(module.training for module in model.modules()), *(p.requires_grad for p in model.parameters())]
    return b"".join(tensors) + bytes(flags)


def test_below_every_rating_nothing_is_pruned_and_the_loss_is_the_cross_entropy(block: Any) -> None:
    model, space = block
    network, gates = made(model, space)
    with torch.no_grad():
        answers = model(IMAGES)
        begun = gates(batch(answers))
        gates.thresholds_G.fill_(-torch.inf)
        opened = gates(batch(answers))
        loss = answer_loss(network(IMAGES, opened), batch(answers)) + gates.penalty(opened)
    assert begun.tolist() == opened.tolist() == [1.0] * network.units
    assert list(gates.widths()) == [group.channels for group in space.groups]
    torch.testing.assert_close(loss, functional.cross_entropy(answers, LABELS))


def test_a_higher_threshold_opens_fewer_channels_and_its_gradient_says_so(block: Any) -> None:
    model, space = block
    _, gates = made(model, space)
    answers, before = model(IMAGES).detach(), list(gates.widths())
    for _ in range(6):
        opened = gates(batch(answers))
        (gradient_G,) = torch.autograd.grad(opened.sum(), gates.thresholds_G)
        assert (gradient_G < 0).all()
        with torch.no_grad():
            gates.thresholds_G += 0.2
        after = list(gates.widths())
        assert all(new <= old for new, old in zip(after, before, strict=True))
        before = after
    assert before < [group.channels for group in space.groups]


@pytest.mark.parametrize("raised", [0.2, 0.5, 0.9, 50.0])
def test_costs_and_answers_are_those_of_the_network_that_is_cut_so(block: Any, raised: float) -> None:
    """Costs against another trace of the cut network; the cut is the criterion's own at these widths."""
    model, space = block
    network, gates = made(model, space)
    with torch.no_grad():
        gates.thresholds_G += raised * torch.arange(1, len(space.groups) + 1) / len(space.groups)
        opened = gates(batch(model(IMAGES)))
    small = prune(model, space, space.planner("l1_norm")(list(gates.widths())))
    counted = eyas.trace(small, (IMAGES[:1],)).cost()
    for metric in METRICS:
        share = float(cost_share(space, opened, metric))
        assert share * getattr(space.cost(), metric) == pytest.approx(getattr(counted, metric), rel=1e-12), metric
    torch.testing.assert_close(network(IMAGES, opened), small(IMAGES))


def test_limits_fall_from_the_dense_costs_to_those_of_the_budget(block: Any) -> None:
    """Penalty of a network that is whole, written out."""
    model, space = block
    _, gates = made(model, space, 0.4)
    answers = model(IMAGES).detach()
    for progress, limit in ((0.0, 1.0), (0.25, 0.7), (0.5, 0.4), (0.9, 0.4)):
        penalty = gates.penalty(gates(batch(answers, progress)))
        assert float(penalty.detach()) == pytest.approx(3 * (1 - limit) ** 2)


def test_each_limit_of_a_budget_falls_to_its_own_share() -> None:
    placement = Placement(DEEP, Budget.parse(DEEP, {"macs": 0.5, "params": 0.3}))
    assert limits_of(placement) == pytest.approx({"macs": 0.5, "params": 0.3})


def test_milliseconds_stand_for_the_macs_of_uniform_widths() -> None:
    stepped = Chain([64, 64, 128, 128, 256], step=8, min_width=16)
    placement = Placement(stepped, Budget.parse(stepped, {"latency": 0.6}, 0.02, Aligned(stepped, lanes=16)))
    (uniform,) = placement.widths(placement.uniform(placement.uniform_share())[None])
    share = stepped.costs(uniform[None]).macs[0] / stepped.cost().macs
    assert 0.1 < share < 0.9
    assert limits_of(placement) == pytest.approx({"macs": share})
    with_macs = Placement(
        stepped, Budget.parse(stepped, {"latency": 0.6, "macs": 0.9}, 0.02, Aligned(stepped, lanes=16))
    )
    assert limits_of(with_macs)["macs"] < 0.9


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("labels", [True, False])
def test_channels_stay_where_the_answers_need_them(norm: bool, labels: bool) -> None:
    """Both branches cost the same and are rated alike; what is learned keeps the one that is read."""
    torch.manual_seed(0)
    model = prepared(Branches(norm=norm))
    space = eyas.trace(model, (IMAGES[:1],))
    labelled = model(IMAGES).argmax(1)
    sampler = LearnedThresholdsSampler(steps=200, batch_size=32, labels=labels)
    budget = Budget.of(space, "macs", 0.5)
    table = sampler.measure(model, space, space.planner("l1_norm"), IMAGES, labels=labelled, budget=budget)
    widths = sampler.ask(space, budget, 3, seed=0, table=table)
    assert [group.name for group in space.groups] == ["a.0", "b.0"]
    assert table.widths[0][0] > 12
    assert table.widths[0][1] < 4
    assert widths[:2].tolist() == [[8, 8], [12, 4]], "uniform ones, and the floor"


def test_ratings_are_scales_over_their_mean_in_the_order_of_the_criterion(block: Any) -> None:
    model, space = block
    _, gates = made(model, space)
    scales = model[0][1].weight.detach().abs()
    ranking = torch.from_numpy(np.ascontiguousarray(space.ranking("l1_norm")[0]))
    assert space.groups[0].name == "0.0"
    torch.testing.assert_close(gates.ratings_U[:8][ranking], (scales / scales.mean()).sort(descending=True)[0])


def test_without_batch_norm_filters_are_rated_by_their_norm_and_what_is_alike_by_its_rank() -> None:
    model = prepared(Branches(norm=False))
    space = eyas.trace(model, (IMAGES[:1],))
    norms = model.a[0].weight.detach().abs().sum((1, 2, 3))
    _, gates = made(model, space)
    torch.testing.assert_close(gates.ratings_U[:16].sort()[0], (norms / norms.mean()).sort()[0])
    model.b[0].weight.data.copy_(model.b[0].weight[:1].expand(16, -1, -1, -1))
    _, gates = made(model, space)
    expected = (2 * torch.arange(16, dtype=torch.float64) + 1) / 16
    torch.testing.assert_close(gates.ratings_U[16:].sort()[0], expected)
    assert float(expected.mean()) == 1


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_the_network_stays_as_it_was_and_a_seed_repeats(block: Any, context: Any) -> None:
    model, space = block
    before = everything(model)
    how = {"steps": 80, "batch_size": 4, "points": 1000, "labels": True, "cost_weight": 1.0}
    first, other = measure(model, space, **how), measure(model, space, **how, seed=1)
    with context():
        again = measure(model, space, **how)
    assert everything(model) == before
    assert first == again
    assert first.digest == again.digest != other.digest


def test_labels_teach_where_they_are_read(block: Any) -> None:
    model, space = block
    how = {"steps": 80, "points": 1000}
    answers = measure(model, space, **how)
    budget, planner = Budget.of(space, "macs", 0.5), space.planner("l1_norm")
    unread = SHORT.model_copy(update=how)
    assert unread.measure(model, space, planner, IMAGES, labels=LABELS, budget=budget) == answers
    assert measure(model, space, **how, labels=True) != answers


def test_of_the_training_behind_the_fall_as_many_points_are_kept_as_were_asked_for(block: Any) -> None:
    model, space = block
    few, many = (measure(model, space, steps=40, points=points) for points in (2, 1000))
    assert few.widths[0] == many.widths[0], "the last"
    assert len(few.widths) <= 2 < len(many.widths) <= 21
    assert set(few.widths) <= set(many.widths)
    assert few.widths[-1] == many.widths[-1] or len(few.widths) == 1


def test_a_group_that_no_layer_reads_stays_as_wide_as_uniform_widths() -> None:
    model = prepared(ReadByNoLayer())
    space = eyas.trace(model, (IMAGES[:1],))
    budget = Budget.of(space, "macs", 0.5)
    assert measure(model, space).widths == ((2,),)
    assert SHORT.ask(space, budget, 5, seed=0, table=measure(model, space)).tolist() == [[2]]


@pytest.mark.parametrize("limits", [{"macs": 0.5}, {"macs": 0.6, "params": 0.4}])
def test_what_is_proposed_keeps_the_budget_and_begins_with_what_was_learned(block: Any, limits: Any) -> None:
    model, space = block
    budget, table = Budget.parse(space, limits, 0.02), measure(model, space, limits, steps=60, points=3)
    widths = SHORT.ask(space, budget, 12, seed=0, table=table)
    assert len(widths) > 3
    assert budget.holds(budget.costs(space, widths)).all()
    last = WidthTrajectory(table.dense, table.widths[:1])
    assert np.array_equal(SHORT.ask(space, budget, 2, seed=0, table=last), widths[:2])


def test_a_larger_spread_lies_further_from_what_was_learned() -> None:
    budget, table = Budget.of(DEEP, "macs", 0.5), learned_widths(DEEP)
    near, far = (
        LearnedThresholdsSampler(spread=spread).ask(DEEP, budget, 60, seed=0, table=table)[4:] for spread in (0.02, 0.5)
    )
    channels = np.array(table.dense)
    middle = np.array(table.widths).mean(0) / channels
    assert np.abs(near / channels - middle).mean() < 0.5 * np.abs(far / channels - middle).mean()


def test_learned_widths_are_read_as_they_were_written() -> None:
    learned = learned_widths(DEEP)
    assert Sampler.parse("learned_thresholds").read_measured(json.dumps(learned.to_json())) == learned
    for wrong, words in (
        ({"widths": [[1]], "errors": [[0.0]]}, "no learned widths: Field required; learn them again"),
        ({"dense": [4, 4], "widths": [[2, 2], [2]]}, "points differ in their number of groups; learn them again"),
        ({"dense": [4], "widths": []}, "no learned widths: .*; learn them again"),
    ):
        with pytest.raises(DataError, match=words):
            SHORT.read_measured(json.dumps(wrong))
    with pytest.raises(DataError, match="belong to another search space: learn them again"):
        SHORT.ask(Chain([8, 8]), Budget.of(Chain([8, 8]), "macs", 0.5), 3, seed=0, table=learned)


def test_what_it_cannot_do_is_said_in_a_line(block: Any) -> None:
    model, space = block
    planner, budget = space.planner("l1_norm"), Budget.of(space, "macs", 0.5)
    with pytest.raises(ParameterError, match="'learned_thresholds' learns widths for a budget: give it as `budget`"):
        SHORT.measure(model, space, planner, IMAGES)
    with pytest.raises(ParameterError, match="proposes widths that it has learned: give it the table that it measures"):
        SHORT.ask(space, budget, 3, seed=0)
    with pytest.raises(DataError, match="learned_thresholds with labels: true has none of the calibration images"):
        SHORT.model_copy(update={"labels": True}).measure(model, space, planner, IMAGES, budget=budget)
    with pytest.raises(BudgetError, match="reachable is"):
        measure(model, space, {"macs": 1e-6})

    class Value(Branches):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)[:, :1]

    class Closed(Branches):
        @torch.no_grad()
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

    for other, words in (
        (Value(), "and not with classes: take sampler evolution$"),
        (Closed(), "Closed computes without gradients: take sampler evolution$"),
    ):
        narrow = prepared(other)
        before = everything(narrow)
        with pytest.raises(DataError, match=words):
            measure(narrow, eyas.trace(narrow, (IMAGES[:1],)))
        assert everything(narrow) == before
