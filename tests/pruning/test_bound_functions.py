"""Weights reached through functions and references: a copy computes with its own, or the network is refused."""

import functools
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from types import MethodType

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import eyas
from eyas.errors import CheckpointError, TraceError
from eyas.networks.saved_network import Network, load_network, save_network
from tests.pruning.oracle import difference

IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
Way = Callable[["Branched"], None]


class Branched(nn.Module):
    """A network whose residual branch is reached in some ``way``."""

    def __init__(self, *ways: Way) -> None:
        super().__init__()
        self.stem, self.mid, self.fc = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 12, 1), nn.Linear(12, 3)
        self.res = nn.Sequential(nn.Conv2d(12, 12, 3, padding=1), nn.BatchNorm2d(12))
        for way in ways:
            way(self)

    def run(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.res(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.branch(self.mid(torch.relu(self.stem(x)))).mean((2, 3)))


class Holder:
    """Something that is no module and holds a layer."""

    def __init__(self, layer: nn.Module, *more: object) -> None:
        self.layer, self.more, self.twice = layer, more, lambda x: layer(x)

    def __call__(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.twice(x))


def closure(net: Branched) -> None:
    net.branch = lambda x: torch.relu(x + net.res(x))


def closure_over_the_layer(net: Branched) -> None:
    res = net.res
    net.branch = lambda x: torch.relu(x + res(x))


def default(net: Branched) -> None:
    net.branch = lambda x, res=net.res: torch.relu(x + res(x))


def keyword_default(net: Branched) -> None:
    def branch(x: Tensor, *, res: nn.Module = net.res) -> Tensor:
        return torch.relu(x + res(x))

    net.branch = branch


def bound(net: Branched) -> None:
    net.branch = net.run


def partial(net: Branched) -> None:
    net.branch = functools.partial(lambda res, x: torch.relu(x + res(x)), net.res)


def partial_of_a_closure(net: Branched) -> None:
    net.branch = functools.partial(lambda scale, x: torch.relu(x + scale * net.res(x)), 1.0)


def patched(net: Branched) -> None:
    inner = net.res.forward
    net.res.forward = MethodType(lambda self, x: inner(x), net.res)
    net.branch = net.run


def decorated(net: Branched) -> None:
    @functools.wraps(net.run)
    def branch(x: Tensor) -> Tensor:
        return net.run(x)

    net.branch = branch


def in_a_table(net: Branched) -> None:
    table = {"b": [lambda x: net.res(x)]}
    net.table = table
    net.branch = lambda x: torch.relu(x + net.table["b"][0](x))


def recursive(net: Branched) -> None:
    def branch(x: Tensor, depth: int = 1) -> Tensor:
        return branch(x, depth - 1) if depth else torch.relu(x + net.res(x))

    net.branch = branch


def object_with_a_closure(net: Branched) -> None:
    net.branch = Holder(net.res)


def weak(net: Branched) -> None:
    reference = weakref.ref(net)
    net.branch = lambda x: reference().run(x)


def weak_to_a_holder(net: Branched) -> None:
    net.holder = Holder(net.res)
    reference = weakref.ref(net.holder)
    net.branch = lambda x: reference()(x)


def compiled_function(net: Branched) -> None:
    net.branch = torch.compile(net.run, backend="eager")


def compiled_lambda(net: Branched) -> None:
    net.branch = torch.compile(lambda x: torch.relu(x + net.res(x)), backend="eager")


def compiled_in_place(net: Branched) -> None:
    net.res.compile(backend="eager")
    net.branch = net.run


def hook(net: Branched) -> None:
    net.branch = nn.Identity()
    net.branch.register_forward_hook(lambda _, args, out: torch.relu(out + net.res(args[0])))


WAYS = (
    closure, closure_over_the_layer, default, keyword_default, bound, partial, partial_of_a_closure, patched,
    decorated, in_a_table, recursive, object_with_a_closure, weak, weak_to_a_holder, compiled_function, compiled_lambda,
    compiled_in_place, hook,
)  # fmt: skip


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_copy_has_weights_of_its_own(way: Way, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Branched(way).eval()
    plain = Branched(bound).eval()
    plain.load_state_dict(model.state_dict())
    space, expected = eyas.trace(model, (IMAGES,)), eyas.trace(plain, (IMAGES,))
    assert space.widths == expected.widths
    plan = expected.plan({group.name: group.channels // 2 for group in expected.groups})
    small, oracle = eyas.prune(model, space, plan), eyas.prune(plain, expected, plan)
    with torch.no_grad():
        answer = oracle(IMAGES)
        for tensor in model.state_dict().values():
            tensor.fill_(1)
        assert difference(small(IMAGES), answer) < 1e-6
        before = model.res[1].running_mean.clone()
        small.train()(IMAGES)
        assert torch.equal(model.res[1].running_mean, before)
        small = eyas.prune(model.eval(), space, plan)
    eyas.save(small, tmp_path, space=space, plan=plan, architecture="mine:net")
    loaded = eyas.load(tmp_path, factory=lambda: Branched(way))
    with torch.no_grad():
        assert difference(loaded(IMAGES), small(IMAGES)) < 1e-6


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.sampled_from(["closure", "list", "partial", "holder", "method", "compiled"]), min_size=1, max_size=5)
)
def test_however_deep_it_is_wrapped(wraps: list[str]) -> None:
    def wrapped(net: Branched) -> None:
        branch: Callable[[Tensor], Tensor] = net.res.forward
        for wrap in wraps:
            branch = wrap_once(wrap, branch)
        net.branch = branch

    model = Branched(wrapped).eval()
    space = eyas.trace(model, (IMAGES,))
    small = eyas.prune(model, space, space.plan({group.name: group.channels // 2 for group in space.groups}))
    with torch.no_grad():
        answer = small(IMAGES)
        model.res[0].weight.zero_()
        assert torch.equal(small(IMAGES), answer)
    assert "mid" in space.widths


def wrap_once(wrap: str, inner: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    held = [inner]
    return {
        "closure": lambda x: inner(x),
        "list": lambda x: held[0](x),
        "partial": functools.partial(lambda function, x: function(x), inner),
        "holder": Holder(inner).twice,
        "method": MethodType(lambda self, x: self[0](x), held),
        "compiled": torch.compile(inner, backend="eager"),
    }[wrap]


class Cached(Branched):
    """Its branch is a cached function, which ``copy.deepcopy`` takes as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = functools.lru_cache(lambda: self.res)

    def branch(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.layer()(x))


def locked(net: Branched) -> None:
    net.branch = Holder(net.res, threading.Lock())


OUTSIDE = nn.Conv2d(12, 12, 1)


def another_module(net: Branched) -> None:
    net.branch = lambda x: OUTSIDE(x)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (Cached, r"res\.0\.weight"),
        (lambda: Branched(locked), r"res\.0\.weight"),
        (lambda: Branched(another_module), r"a parameter of shape \(12, 12, 1, 1\) that is not its own"),
    ],
)
def test_what_no_copy_can_follow_is_refused_by_name(make: Callable[[], nn.Module], name: str) -> None:
    with pytest.raises(TraceError, match=f"reads {name} through a global name"):
        eyas.trace(make().eval(), (IMAGES,))


def test_constants_are_no_weights() -> None:
    scale = torch.full((12, 1, 1), 0.5)

    def scaled(net: Branched) -> None:
        net.branch = lambda x: torch.relu(net.res(x)) * scale

    assert "stem" in eyas.trace(Branched(scaled).eval(), (IMAGES,)).widths


def test_a_compiled_network_is_that_which_was_compiled(tmp_path: Path) -> None:
    model = Branched(bound).eval()
    compiled = torch.compile(model, backend="eager")
    space = eyas.trace(compiled, (IMAGES,))
    assert space.widths == eyas.trace(model, (IMAGES,)).widths
    plan = space.plan({"stem": 4})
    eyas.check_parity(compiled, space, plan).require()
    small = eyas.prune(compiled, space, plan)
    eyas.save(torch.compile(small, backend="eager"), tmp_path, space=space, plan=plan, architecture="mine:net")
    loaded = eyas.load(tmp_path, factory=lambda: Branched(bound))
    with torch.no_grad():
        answer = small(IMAGES)
        model.fc.bias += 1
        assert torch.equal(small(IMAGES), answer)
        assert difference(loaded(IMAGES), answer) < 1e-6
    with pytest.raises(CheckpointError, match=r"model\._orig_mod"):
        space.plan({"stem": 4}, model=compiled)


def test_a_compiled_layer_within_is_pruned() -> None:
    def compiled_layer(net: Branched) -> None:
        net.res = torch.compile(net.res, backend="eager")
        net.branch = net.run

    model = Branched(compiled_layer).eval()
    space = eyas.trace(model, (IMAGES,))
    assert set(space.widths) == {"stem", "mid"}
    assert eyas.check_parity(model, space, space.plan({"mid": 5})).require(1e-5).outputs == 1
    small = eyas.prune(model, space, space.plan({"mid": 5}))
    assert small.state_dict().keys() == model.state_dict().keys()


def test_a_dense_network_with_a_closure_is_saved(tmp_path: Path) -> None:
    model = Branched(closure).eval()
    save_network(Network(torch.compile(model, backend="eager"), "mine:net", {}, (3, 8, 8)), tmp_path)
    loaded = load_network(tmp_path, factory=lambda: Branched(closure)).model
    with torch.no_grad():
        assert torch.equal(loaded(IMAGES), model(IMAGES))
