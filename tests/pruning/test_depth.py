"""Residual blocks left out whole: found where the shortcut is an identity, and gone without a trace.

The oracle is the dense network with hooks that zero what the last layer of each branch answers.
"""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import eyas
from eyas.errors import CheckpointError, ParameterError, PlanError
from eyas.networks.architecture_record import read_record
from eyas.networks.pruned_architecture import build, describe
from eyas.networks.saved_network_checks import branches_of
from eyas.pruning.criteria.random import Random
from eyas.pruning.inspection import render, smallest
from eyas.pruning.mask_parity import check_parity
from eyas.pruning.nested_plans import nested_plans
from eyas.pruning.pruned_space import plan_inside, pruned_space
from eyas.pruning.space import SearchSpace
from eyas.scoring.slicer import Slicer
from models.resnet_cifar import resnet8, resnet20
from tests.pruning.networks import Bottleneck, ChannelsFirstNorm, ConvNeXtBlock, Inverted, conv_bn
from tests.pruning.oracle import counted, difference, masked, prepared


class PreActivation(nn.Module):
    def __init__(self, c: int, mid: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(c), nn.Conv2d(c, mid, 3, padding=1)
        self.bn2, self.conv2 = nn.BatchNorm2d(mid), nn.Conv2d(mid, c, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(functional.relu(self.bn1(x)))
        return self.conv2(functional.relu(self.bn2(y))).add_(x)


class StochasticDepth(nn.Module):
    """Huang et al. 2016; asks the branch for its sizes, as common implementations do."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        kept = torch.empty((x.shape[0],) + (1,) * (x.ndim - 1), dtype=x.dtype, device=x.device).bernoulli_(0.8)
        return x * kept / 0.8


class Gate(nn.Module):
    """Squeeze and excitation that reads sizes."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Sequential(nn.Linear(c, 3), nn.ReLU(), nn.Linear(3, c))

    def forward(self, x: Tensor) -> Tensor:
        b, c, _, _ = x.size()
        return x * self.fc(self.pool(x).view(b, c)).sigmoid().view(b, c, 1, 1).expand_as(x)


class Gated(nn.Module):
    """With stochastic depth, a factor and a bare scale behind the branch."""

    def __init__(self, c: int, mid: int) -> None:
        super().__init__()
        self.a, self.b, self.gate = conv_bn(c, mid, 3), conv_bn(mid, c, act=None), Gate(c)
        self.scale, self.drop = nn.Parameter(torch.rand(c) + 0.5), StochasticDepth()

    def forward(self, x: Tensor) -> Tensor:
        y = self.drop(self.scale.view(1, -1, 1, 1) * self.gate(self.b(self.a(x))))
        return torch.add(x, 0.5 * y)


class Nested(nn.Module):
    """A branch with a residual block in it."""

    def __init__(self, c: int, mid: int) -> None:
        super().__init__()
        self.enter, self.inner, self.leave = conv_bn(c, mid), PreActivation(mid, 5), conv_bn(mid, c, act=None)

    def forward(self, x: Tensor) -> Tensor:
        y = self.leave(self.inner(self.enter(x)))
        y += x
        return y.relu_()


class Parallel(nn.Module):
    """Two branches beside one shortcut, and a third one from their sum."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Sequential(conv_bn(c, mid, 3), conv_bn(mid, c, act=None)) for mid in (4, 5, 6))

    def forward(self, x: Tensor) -> Tensor:
        y = x + self.a(x) + self.b(x)
        return y + self.c(y)


def inverted(i: int, mid: int, o: int, s: int = 1, se: int = 0) -> nn.Module:
    return Inverted(i, mid, o, 3, s, se, nn.ReLU6, nn.Sigmoid)


def between(*blocks: nn.Module, c: int = 8, stem: nn.Module | None = None) -> nn.Module:
    return nn.Sequential(stem or conv_bn(3, c, 3), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, 4))


@dataclass(frozen=True)
class Case:
    make: Callable[[], nn.Module]
    ends: dict[str, str]
    """The last layer of the branch of every block that may go."""
    inner: dict[str, str] = field(default_factory=dict)
    """Blocks that go with others."""


CASES = {
    "basic": Case(
        lambda: resnet20(num_classes=4, width=8),
        {f"layer{n}": f"layer{n}.bn2" for n in ("1.0", "1.1", "1.2", "2.1", "2.2", "3.1", "3.2")},
    ),
    "bottleneck": Case(
        lambda: between(Bottleneck(8, 6, 12, 2), Bottleneck(12, 6, 12, se=4), Bottleneck(12, 6, 12, g=2), c=12,
                        stem=conv_bn(3, 8, 3)),
        {"2": "2.bn3", "3": "3.bn3"},
    ),
    "inverted": Case(
        lambda: between(inverted(8, 24, 8), inverted(8, 24, 12, 2), inverted(12, 36, 12, se=5), c=12,
                        stem=conv_bn(3, 8, 3)),
        {"1": "1.project", "3": "3.project"},
    ),
    "pre-activation": Case(lambda: between(PreActivation(8, 6), PreActivation(8, 5)), {"1": "1.conv2", "2": "2.conv2"}),
    "convnext": Case(
        lambda: between(ConvNeXtBlock(8), ConvNeXtBlock(8),
                        stem=nn.Sequential(nn.Conv2d(3, 8, 2, 2), ChannelsFirstNorm(8))),
        {"1": "1.pw2", "2": "2.pw2"},
    ),
    "gated": Case(lambda: between(Gated(8, 6), Gated(8, 7)), {"1": "1.drop", "2": "2.drop"}),
    "nested": Case(
        lambda: between(Nested(8, 6), Nested(8, 7)),
        {"1.inner": "1.inner.conv2", "1": "1.leave", "2.inner": "2.inner.conv2", "2": "2.leave"},
        {"1.inner": "1", "2.inner": "2"},
    ),
    "parallel": Case(lambda: between(Parallel(8)), {"1": "1.a.1", "1/2": "1.b.1", "1/3": "1.c.1"}),
}  # fmt: skip


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture(scope="module")
def dense(case: Case) -> nn.Module:
    torch.manual_seed(0)
    return prepared(case.make())


@pytest.fixture(scope="module")
def space(dense: nn.Module) -> SearchSpace:
    return eyas.trace(dense, (IMAGES,), depth=True)


IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def drawn_widths(space: SearchSpace, seed: int) -> np.ndarray:
    """Random legal widths without some of the blocks; all of them for seed 0."""
    generator = np.random.default_rng(seed)
    widths = np.array([generator.choice(space.legal_widths(group)) for group in space.groups])
    dropped = generator.random(len(space.blocks)) < (0.5 if seed else 2)
    widths[space.legal.block_table.groups_of(dropped)] = 0
    return widths


def without_branches(model: nn.Module, space: SearchSpace, plan: eyas.PruningPlan, ends: dict[str, str]) -> nn.Module:
    """The dense network, masked, whose dropped branches answer with zeros."""
    oracle = masked(model, space.slices(plan))
    for block in space.dropped(plan):
        oracle.get_submodule(ends[block.name]).register_forward_hook(lambda _, __, y: torch.zeros_like(y))
    return oracle


def test_every_block_beside_an_identity_may_go(case: Case, space: SearchSpace) -> None:
    assert {block.name for block in space.blocks} == set(case.ends)
    assert all(name in render(space) for name in case.ends)


@pytest.mark.parametrize("seed", range(4))
def test_it_computes_what_zeroed_branches_do_at_the_counted_cost(
    case: Case, dense: nn.Module, space: SearchSpace, seed: int
) -> None:
    before = copy.deepcopy(dense.state_dict())
    widths = drawn_widths(space, seed)
    plan = space.plan(widths, Random(seed=seed))
    small = eyas.prune(dense, space, plan)
    with torch.no_grad():
        assert difference(small(IMAGES), without_branches(dense, space, plan, case.ends)(IMAGES)) < 1e-9
    (macs, params), cost = counted(small, (IMAGES,), {}), space.cost(widths)
    assert (cost.macs * len(IMAGES), cost.params) == (macs, params)
    assert space.costs(widths[None])[0] == cost
    assert check_parity(dense, space, plan).max_relative < 1e-9
    assert not space.removed(plan) & {name for name, _ in (*small.named_parameters(), *small.named_buffers())}
    assert all(torch.equal(tensor, before[name]) for name, tensor in dense.state_dict().items())


def test_activations_of_a_dropped_branch_cost_nothing() -> None:
    model = between(PreActivation(8, 6)).eval()
    space = eyas.trace(model, (torch.zeros(1, 3, 8, 8),), depth=True)
    assert space.cost({"1.conv1": 0}).activation_bytes == 4 * (8 * 64 + 4)
    assert smallest(space) == space.cost({"0.0": 1, "1.conv1": 0})


def test_candidates_are_sliced_in_turn_as_they_are_pruned(dense: nn.Module, space: SearchSpace) -> None:
    slicer = Slicer(dense, space)
    for seed in (1, 0, 2, 1):
        plan = space.plan(drawn_widths(space, seed), Random(seed=seed))
        with torch.no_grad():
            sliced, small = slicer(plan), eyas.prune(dense, space, plan)
            assert torch.equal(sliced(IMAGES), small(IMAGES))
        assert sliced.state_dict().keys() == small.state_dict().keys()
    with torch.no_grad():
        assert torch.equal(slicer(space.plan())(IMAGES), dense(IMAGES))


def test_what_is_read_from_json_answers_alike(dense: nn.Module, space: SearchSpace) -> None:
    text = json.dumps(space.to_json())
    read = SearchSpace.from_json(dense, text)
    assert json.dumps(read.to_json()) == text
    assert read.blocks == space.blocks
    rows = np.array([drawn_widths(space, seed) for seed in range(8)])
    assert np.array_equal(read.costs(rows).activation_bytes, space.costs(rows).activation_bytes)
    plan = space.plan(rows[1])
    assert read.slices(plan).keys() == space.slices(plan).keys()
    assert eyas.PruningPlan.from_json(plan.to_json()) == plan


def test_saved_it_is_loaded_as_it_was(case: Case, dense: nn.Module, space: SearchSpace, tmp_path) -> None:
    plan = space.plan(drawn_widths(space, 1))
    small = eyas.prune(dense, space, plan)
    factory = lambda: case.make().double()  # noqa: E731
    eyas.save(small, tmp_path, space=space, plan=plan, architecture="tests.factory:build")
    loaded = eyas.load(tmp_path, factory=factory)
    with torch.no_grad():
        assert torch.equal(loaded(IMAGES), small(IMAGES))
    assert loaded.state_dict().keys() == small.state_dict().keys()
    torch.save(small, tmp_path / "whole.pt")
    with torch.no_grad():
        whole = torch.load(tmp_path / "whole.pt", weights_only=False)
        assert torch.equal(whole(IMAGES), small(IMAGES))
        assert torch.equal(copy.deepcopy(loaded)(IMAGES), small(IMAGES))


def test_it_trains(dense: nn.Module, space: SearchSpace) -> None:
    small = eyas.prune(dense, space, space.plan(drawn_widths(space, 0))).train()
    small(IMAGES).square().sum().backward()
    assert all(parameter.grad is not None for parameter in small.parameters())


def test_what_is_left_of_a_space_has_the_blocks_that_are_left(dense: nn.Module, space: SearchSpace) -> None:
    outer = space.plan({space.groups[number].name: 0 for number in space.blocks[-1].groups})
    small = eyas.prune(dense, space, outer)
    inner = pruned_space(space, outer, small)
    names = {block.name for block in space.blocks} - {space.blocks[-1].name}
    if "1.inner" not in names:
        assert {block.name for block in inner.blocks} == names
    plan = space.plan({**outer.widths, **{space.groups[number].name: 0 for number in space.blocks[0].groups}})
    smaller = eyas.prune(small, inner, plan_inside(outer, plan, inner))
    with torch.no_grad():
        assert torch.equal(smaller(IMAGES), eyas.prune(dense, space, plan)(IMAGES))
    assert inner.cost(smaller_widths(inner, plan)) == space.cost(plan.widths)


def smaller_widths(inner: SearchSpace, plan: eyas.PruningPlan) -> dict[str, int]:
    return {name: plan.widths[name] for name in inner.widths}


def test_blocks_go_in_the_first_of_several_cuts(dense: nn.Module, space: SearchSpace) -> None:
    plan = space.plan(drawn_widths(space, 2))
    first, *_, last = nested_plans(space, plan, 3)
    assert space.dropped(first) == space.dropped(plan)
    assert last.kept == plan.kept


def test_the_files_in_onnx_have_no_trace_of_a_branch(tmp_path) -> None:
    onnxruntime, onnx = pytest.importorskip("onnxruntime"), pytest.importorskip("onnx")
    from eyas.deploy.exporters import Exporter

    torch.manual_seed(0)
    model = resnet8(num_classes=4, width=8).eval()
    space = eyas.trace(model, (IMAGES.float(),), depth=True)
    plan = space.plan({"layer1.0.conv1": 0, "layer2.0.conv1": 5})
    small = eyas.prune(model, space, plan)
    path = Exporter.parse("onnx")(small, IMAGES.float(), tmp_path / "small.onnx")
    operators = [node.op_type for node in onnx.load(path).graph.node]
    assert operators.count("Conv") == 5
    assert operators.count("Add") == 2
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (answers,) = session.run(None, {session.get_inputs()[0].name: IMAGES.float().numpy()})
    with torch.no_grad():
        assert np.abs(answers - small(IMAGES.float()).numpy()).max() < 1e-5


class Twice(nn.Module):
    """Forms of an addition that no block can be left out of, by name."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form, self.a, self.b = form, nn.Conv2d(8, 6, 1), nn.Conv2d(6, 8, 1)
        self.side, self.c = nn.Conv2d(8, 8, 1), nn.Sequential(nn.Conv2d(8, 5, 1), nn.Conv2d(5, 8, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.b(self.a(x).relu())
        forms: dict[str, Callable[[], Tensor]] = {
            "projection": lambda: self.side(x) + y,
            "used elsewhere": lambda: (x + y) * y.mean(),
            "a middle used elsewhere": lambda: x + y + self.a(x).mean(),
            "weights used elsewhere": lambda: self.b(self.a(x + y)),
            "difference": lambda: x - y,
            "product": lambda: x * y,
            "concatenation": lambda: torch.cat([x, y], 1)[:, :8],
            "scaled shortcut": lambda: torch.add(y, x, alpha=0.5),
            "of a fixed output": lambda: x + y.sigmoid(),
            "no channels of its own": lambda: x + self.side(x),
            "beside a projection": lambda: (self.side(x) + y.relu()) + self.c(x),
        }
        return forms[self.form]()


FORMS = (
    "projection", "used elsewhere", "a middle used elsewhere", "weights used elsewhere", "difference", "product",
    "concatenation", "scaled shortcut", "of a fixed output", "no channels of its own", "beside a projection",
)  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_where_the_sum_is_no_identity_without_the_branch_nothing_may_go(form: str) -> None:
    model = prepared(between(Twice(form)))
    with pytest.raises(ParameterError, match="^`depth`: the network has no residual block that can be left out"):
        eyas.trace(model, (IMAGES,), depth=True)
    assert eyas.trace(model, (IMAGES,)).blocks == ()


def test_without_depth_a_space_is_as_ever() -> None:
    model = between(PreActivation(8, 6)).double().eval()
    flat, deep = eyas.trace(model, (IMAGES,)), eyas.trace(model, (IMAGES,), depth=True)
    assert (flat.blocks, flat.fingerprint) == ((), deep.fingerprint)
    assert not {"blocks", "switches"} & {*flat.to_json(), *flat.to_json()["costs"]}
    assert flat.costs([[5, 3]]).macs == deep.costs([[5, 3]]).macs
    with pytest.raises(PlanError, match="cannot have 0 channels: allowed are multiples of 1 from 1 to 6$"):
        flat.cost({"1.conv1": 0})
    with pytest.raises(PlanError, match="cannot have 0 channels"):
        flat.slices(deep.plan({"1.conv1": 0}))


def test_a_block_with_an_ignored_layer_stays() -> None:
    model = resnet20(num_classes=4, width=8).double().eval()
    space = eyas.trace(model, (IMAGES,), depth=True, ignore=["layer1.1.conv2", "layer3.*"])
    assert [block.name for block in space.blocks] == ["layer1.0", "layer1.2", "layer2.1", "layer2.2"]


def test_groups_of_a_block_go_together() -> None:
    space = eyas.trace(between(Nested(8, 6)).double().eval(), (IMAGES,), depth=True)
    names = [group.name for group in space.groups]
    assert names == ["0.0", "1.enter.0", "1.inner.conv1"]
    assert space.cost({"1.inner.conv1": 0}).params > space.cost({"1.enter.0": 0, "1.inner.conv1": 0}).params
    with pytest.raises(PlanError, match="'1.inner.conv1' cannot have 5 channels where the residual block around it is"):
        space.cost({"1.enter.0": 0})
    with pytest.raises(PlanError, match="cannot have -1 .* 0 for all groups of a residual block together, '1.inner'"):
        space.cost({"1.inner.conv1": -1})
    with pytest.raises(PlanError, match="group '0.0' cannot have 0"):
        space.costs([[8, 6, 5], [0, 6, 5]])


def test_a_record_that_leaves_out_what_is_not_there_is_refused(tmp_path) -> None:
    model = between(PreActivation(8, 6)).eval()
    space = eyas.trace(model, (IMAGES.float(),), depth=True)
    plan = space.plan({"1.conv1": 0})
    eyas.save(eyas.prune(model, space, plan), tmp_path, space=space, plan=plan, architecture="tests.factory:build")
    with pytest.raises(CheckpointError, match="leaves out '1.elsewhere'"):
        branches_of(model, [(["1.conv1", "1.elsewhere"], [])])
    with pytest.raises(CheckpointError, match="leaves out ''"):
        branches_of(model, [([""], [])])
    record = read_record(tmp_path)
    forged = record.model_copy(update={"pruning": record.pruning.model_copy(update={"dropped": []})})
    (tmp_path / "architecture.json").write_text(forged.to_json())
    with pytest.raises(PlanError, match="do not agree on whether residual blocks are left out"):
        eyas.load(tmp_path, factory=lambda: between(PreActivation(8, 6)))
    with pytest.raises(PlanError, match="leaves its residual block out"):
        eyas.save(model, tmp_path / "other", space=space, plan=plan, architecture="tests.factory:build")


def test_a_pruned_network_is_an_architecture_again(tmp_path) -> None:
    model = resnet8(num_classes=4, width=8).eval()
    space = eyas.trace(model, (IMAGES.float(),), depth=True)
    plan = space.plan({"layer1.0.conv1": 0, "layer2.0.conv1": 5})
    small = eyas.prune(model, space, plan)
    arguments = {"num_classes": 4, "width": 8}
    eyas.save(small, tmp_path, space=space, plan=plan, architecture="models.resnet_cifar:resnet8", arguments=arguments)
    again = build(**describe(tmp_path), num_classes=4).eval()
    again.load_state_dict(small.state_dict())
    with torch.no_grad():
        assert torch.equal(again(IMAGES.float()), small(IMAGES.float()))


def test_what_is_left_is_refitted(dense: nn.Module, space: SearchSpace) -> None:
    plan = space.plan(drawn_widths(space, 1))
    small, images = eyas.prune(dense, space, plan), torch.randn(16, 3, 8, 8, dtype=torch.float64)
    report = eyas.refit(dense, small, space, plan, images)
    assert report.error_after <= report.error_before
