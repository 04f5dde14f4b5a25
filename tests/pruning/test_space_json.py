"""A search space on disk: read without tracing, refused where it is not this network's."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import eyas
from eyas.errors import CheckpointError, ParameterError, PlanError
from eyas.pruning.space import SearchSpace
from eyas.pruning.space_json import example_to_json, from_runs, to_runs
from tests.pruning.networks import CifarResNet
from tests.pruning.oracle import assert_read_alike, difference, masked, random_widths

IMAGES = (torch.randn(2, 3, 16, 16),)


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    torch.manual_seed(0)
    return eyas.trace(CifarResNet(1).eval(), IMAGES, ignore=["layers.1.a.*"], round_to=4, min_width=8)


def test_it_is_read_without_tracing(space: SearchSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.export, "export", None)
    assert_read_alike(space)
    read = SearchSpace.from_json(space.model, space.to_json())
    assert (read.round_to, read.min_width) == (4, 8)
    assert "ignored" in {group.reason for group in read.frozen}
    plan = read.plan(random_widths(read, 3))
    small = eyas.prune(read.model, read, plan)
    with torch.no_grad():
        assert difference(small(*IMAGES), masked(read.model, read.slices(plan))(*IMAGES)) < 1e-5
    assert eyas.check_parity(read.model, read, plan, dtype=torch.float64).max_relative < 1e-9


def test_the_same_network_gives_the_same_bytes(space: SearchSpace) -> None:
    again = eyas.trace(CifarResNet(1), IMAGES, ignore=["layers.1.a.*"], round_to=4, min_width=8)
    assert json.dumps(again.to_json()) == json.dumps(space.to_json())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["groups"][0].update(channels=17), "was changed after it was written"),
        (lambda c: c["layout"]["units"].pop(), "was changed after it was written"),
        (lambda c: c["costs"]["macs"].update(divisor=1), "was changed after it was written"),
        (lambda c: c.update(extra=1), "was changed after it was written"),
        (lambda c: c.pop("digest"), "was changed after it was written"),
        (lambda c: c.update(version=1), "version 1, this eyas reads 2"),
        (lambda c: c.pop("version"), "version None, this eyas reads 2"),
    ],
)
def test_what_was_changed_is_refused(
    space: SearchSpace, change: Callable[[dict[str, object]], object], message: str
) -> None:
    content = json.loads(json.dumps(space.to_json()))
    change(content)
    with pytest.raises(PlanError, match=message):
        SearchSpace.from_json(space.model, content)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "is not JSON"), ("[]", "not list"), (b"\xff", "is not JSON"), (None, "not NoneType")]
)
def test_what_is_no_json_object_is_refused(space: SearchSpace, text: Any, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        SearchSpace.from_json(space.model, text)


def strided() -> nn.Module:
    """The traced network with another stride: every parameter has the shape it had."""
    model = CifarResNet(1)
    next(module for module in model.modules() if getattr(module, "stride", None) == (2, 2)).stride = (1, 1)
    return model


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: CifarResNet(2), "is not the architecture that was traced"),
        (lambda: nn.Conv2d(3, 8, 1), "is not the architecture that was traced"),
        (strided, "other strides"),
    ],
)
def test_another_network_is_refused(space: SearchSpace, other: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        SearchSpace.from_json(other(), space.to_json())


class Plain(nn.Module):
    """Two layers in a row."""

    def __init__(self, *, residual: bool = False) -> None:
        super().__init__()
        self.c, self.f, self.residual = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 2, 1), residual

    def forward(self, x: Tensor) -> Tensor:
        y = self.c(x)
        return self.f(y + x if self.residual else y)


def rewired(inner: Callable[[nn.Module, Tensor], Tensor]) -> nn.Module:
    """The same layers under a class of the same name that computes something else between them."""

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c, self.f, self.residual = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 2, 1), False

        def forward(self, x: Tensor) -> Tensor:
            return self.f(inner(self, x))

    return Plain()


def patched() -> nn.Module:
    """The traced class, with a ``forward`` of its own."""
    model = Plain()
    model.forward = lambda x: model.f(model.c(x) + x)
    return model


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: Plain(residual=True), "or options"),
        (lambda: rewired(lambda s, x: s.c(x) + x), "other code"),
        (patched, "other code"),
    ],
)
def test_the_same_layers_in_another_wiring_are_refused(other: Callable[[], nn.Module], message: str) -> None:
    content = eyas.trace(Plain(), (torch.randn(2, 8, 4, 4),)).to_json()
    assert SearchSpace.from_json(Plain().train(), content).widths == {"c": 8}
    with pytest.raises(CheckpointError, match=message):
        SearchSpace.from_json(other(), content)


def test_a_network_without_source_is_read() -> None:
    names: dict[str, Any] = {"nn": nn, "__name__": "console"}
    exec("class Typed(nn.Sequential):\n    def forward(self, x):\n        return super(Typed, self).forward(x)", names)
    model = names["Typed"](nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1))
    content = eyas.trace(model, (torch.randn(2, 3, 4, 4),)).to_json()
    assert SearchSpace.from_json(model, content).widths == {"0": 8}


class Typed(nn.Module):
    """Takes a float image, integers that choose rows of a table, a keyword and a plain number."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.table = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 2, 1), nn.Embedding(9, 6)

    def forward(self, pair: tuple[Tensor, Tensor], *, gain: Tensor, power: float) -> Tensor:
        image, index = pair
        return self.b(self.a(image) * gain**power + self.table(index).mean(1)[..., None, None])


def test_the_example_inputs_keep_shapes_types_and_integers() -> None:
    index = torch.tensor([[8, 8, 8, 1], [0, 1, 2, 7]])
    model = Typed().double().eval()
    keywords = {"gain": torch.rand(2, 1, 1, 1).double(), "power": 2.0}
    space = eyas.trace(model, ((torch.randn(2, 3, 4, 4).double(), index),), keywords)
    read = SearchSpace.from_json(model, json.dumps(space.to_json()))
    ((image, again),), kwargs = read.example
    assert (image.shape, image.dtype) == ((2, 3, 4, 4), torch.float64)
    assert torch.equal(again, index)
    assert (kwargs["gain"].shape, kwargs["power"]) == ((2, 1, 1, 1), 2.0)
    plan = space.plan({"a": 2})
    assert eyas.check_parity(model, read, plan) == eyas.check_parity(model, space, plan)


def test_an_example_that_json_cannot_hold_is_named() -> None:
    with pytest.raises(ParameterError, match="`example_inputs` hold a dtype"):
        example_to_json(((torch.randn(1, 3, 4, 4), torch.float32), {}))


@given(st.lists(st.one_of(st.integers(-1, 5), st.integers(-1, 10**9)), max_size=40))
def test_runs_are_read_as_they_were(values: list[int]) -> None:
    array = np.array(values, dtype=np.int64)
    assert np.array_equal(from_runs(to_runs(array)), array)


def test_runs_are_short() -> None:
    assert to_runs(np.arange(2048)) == "0..2047"
    assert to_runs(np.repeat(np.arange(3), 49)) == "0*49 1*49 2*49"
    assert to_runs(np.array([-1, -1, 4, 5, 9])) == "-1*2 4..5 9"
