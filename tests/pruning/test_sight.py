"""Verification sees every tensor of every output structure, whatever the inputs' domain, and through deep networks."""

import collections
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import eyas
from eyas.errors import ParityError
from tests.pruning.oracle import frozen_reason

IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
CLOSE = {"database": None, "max_examples": 25, "deadline": None, "suppress_health_check": list(HealthCheck)}


@dataclass
class Answer:
    first: Any
    second: Any = None


@dataclass
class Unregistered:
    first: Any


class Pair(NamedTuple):
    first: Any
    second: Any


torch.export.register_dataclass(Answer, serialized_type_name="tests.Answer")

WRAPS: dict[str, Callable[[Any], Any]] = {
    "dataclass": lambda x: Answer(x, torch.tensor(1)),
    "named tuple": lambda x: Pair(torch.zeros(1), x),
    "list": lambda x: [x],
    "tuple": lambda x: (None, x),
    "dictionary": lambda x: {"x": x, "step": torch.tensor(1)},
    "ordered": lambda x: collections.OrderedDict(x=x),
}


class Scaled(nn.Module):
    """A scale that depends on the width of ``a``, hard-wired."""

    def __init__(self, wrap: Callable[[Any], Any], power: float = 0.5) -> None:
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3), nn.Linear(6, 3)
        self.wrap, self.power = wrap, power

    def forward(self, x: Tensor) -> Any:
        x = torch.relu(self.a(x))
        x = torch.relu(self.b(x / x.shape[1] ** self.power))
        return self.wrap(self.fc(x.mean((2, 3))))


@settings(**CLOSE)
@given(st.lists(st.sampled_from(sorted(WRAPS)), max_size=3))
def test_a_hard_wired_scale_is_seen_in_any_output_structure(wraps: list[str]) -> None:
    def wrap(x: Any) -> Any:
        for name in wraps:
            x = WRAPS[name](x)
        return x

    model = Scaled(wrap).eval()
    space = eyas.trace(model, (IMAGES,))
    assert set(space.widths) == {"b"}
    assert "hard-wired" in frozen_reason(space, "a")
    model.power = 0.0
    free = eyas.trace(model, (IMAGES,))
    plan = free.plan({"a": 4, "b": 3})
    assert eyas.check_parity(model, free, plan).require().outputs >= 1
    model.power = 0.5
    with pytest.raises(ParityError, match="differs from the masked one"):
        eyas.check_parity(model, free, plan).require()


def test_dataclasses_that_pytree_does_not_know_are_compared() -> None:
    model = Scaled(lambda x: x, 0.0).eval()
    space = eyas.trace(model, (IMAGES,))
    model.wrap, model.power = Unregistered, 0.5
    parity = eyas.check_parity(model, space, space.plan({"a": 4}))
    assert parity.outputs == 1
    assert parity.max_relative > 1e-3


@pytest.mark.parametrize(
    ("wrap", "why"),
    [
        (lambda x: x.argmax(1), "integers only"),
        (lambda x: {"class": x.argmax(1), "sure": x.amax(1) > 0}, "integers only"),
        (lambda _: None, "no tensor"),
        (lambda x: object(), "answers with a object"),
        (lambda x: x * float("nan"), "undefined"),
    ],
)
def test_answers_that_say_nothing_are_no_agreement(wrap: Callable[[Any], Any], why: str) -> None:
    model = Scaled(lambda x: x, 0.0).eval()
    space = eyas.trace(model, (IMAGES,))
    model.wrap = wrap
    with pytest.raises(ParityError, match=why):
        eyas.check_parity(model, space, space.plan({"a": 4}))


def test_a_network_that_answers_with_class_numbers_is_frozen_for_that() -> None:
    space = eyas.trace(Scaled(lambda x: x.argmax(1)).eval(), (IMAGES,))
    assert space.groups == ()
    assert "integers only" in frozen_reason(space, "a")


def test_an_undefined_output_is_not_hidden_by_another() -> None:
    model = Scaled(lambda x: (x, x), 0.0).eval()
    space = eyas.trace(model, (IMAGES,))
    small = eyas.prune(model, space, space.plan({"a": 4}))
    small.wrap = lambda x: (x, x * float("nan"))
    with torch.no_grad():
        parity = eyas.pruning.mask_parity.compare(small(IMAGES), model(IMAGES))
    with pytest.raises(ParityError):
        parity.require(1e9)


DOMAINS: dict[str, Callable[[Tensor], Tensor]] = {
    "log": lambda x: torch.log(x + 1e-6),
    "sqrt": torch.sqrt,
    "power": lambda x: x**0.3,
    "arccosine": torch.acos,
    "logit": torch.logit,
    "log of a ratio": lambda x: torch.log(x[:, :1] / x.sum(1, keepdim=True)).expand_as(x),
}


@pytest.mark.parametrize("name", DOMAINS)
def test_inputs_of_a_domain(name: str) -> None:
    class Domain(Scaled):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(DOMAINS[name](x))  # type: ignore[no-any-return]

    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.9 + 0.05
    model = Domain(lambda x: x, 0.0).eval()
    space = eyas.trace(model, (images,))
    assert set(space.widths) == {"a", "b"}
    assert eyas.check_parity(model, space, space.plan({"a": 4, "b": 3})).require().outputs == 1
    model.power = 0.5
    assert set(eyas.trace(model, (images,)).widths) == {"b"}


RANDOM: dict[str, Callable[[Tensor], Tensor]] = {
    "dropout": lambda x: F.dropout(x, 0.5),
    "dropout of channels": lambda x: F.dropout2d(x[..., None, None], 0.5).flatten(1),
    "noise": lambda x: x + torch.randn_like(x),
    "stochastic depth": lambda x: x * (torch.rand(x.shape[0], 1) + 0.5),
}


CHANGING: dict[str, Callable[[Tensor, Tensor], object]] = {
    "running mean": lambda seen, x: seen.mul_(0.9).add_(0.1 * x.detach().mean()),
    "counter": lambda seen, x: seen.add_(1),
}


@pytest.mark.parametrize("name", CHANGING)
def test_a_forward_that_changes_a_buffer_in_eval_mode_is_told_so(name: str) -> None:
    model = Scaled(lambda x: x, 0.0).eval()
    model.register_buffer("seen", torch.zeros(()))

    def wrap(x: Tensor) -> Tensor:
        CHANGING[name](model.seen, x)
        return x + model.seen

    model.wrap = wrap
    for layer in ("a", "b"):
        reason = frozen_reason(eyas.trace(model, (IMAGES,)), layer)
        assert "changes the buffer seen in eval mode: change it only `if self.training`" in reason


@pytest.mark.parametrize("name", RANDOM)
def test_a_random_forward_is_named(name: str) -> None:
    model = Scaled(lambda x: x, 0.0).eval()
    space = eyas.trace(model, (IMAGES,))
    model.wrap = RANDOM[name]
    for layer in ("a", "b"):
        assert "draws random numbers in eval mode, `" in frozen_reason(eyas.trace(model, (IMAGES,)), layer)
    state = torch.get_rng_state()
    with pytest.raises(ParityError, match="draws random numbers in eval mode"):
        eyas.check_parity(model, space, space.plan({"a": 4}))
    assert torch.equal(torch.get_rng_state(), state)


class Deep(nn.Module):
    """No batch-norm, not trained: what is wrong at ``place`` has vanished at the end."""

    def __init__(self, place: int, how: str, depth: int, *, bias: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.rest = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1, bias=bias) for _ in range(depth))
        self.fc, self.place, self.how = nn.Linear(8, 3), place, how

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        for number, layer in enumerate(self.rest):
            x = torch.relu(self.run(layer, x) if number == self.place else layer(x))
        return self.fc(x.mean((2, 3)))  # type: ignore[no-any-return]

    def run(self, layer: nn.Conv2d, x: Tensor) -> Tensor:
        if self.how == "input":
            return layer(x * (2 / x.shape[1]) ** 0.5)  # type: ignore[no-any-return]
        if self.how == "weight":
            return F.conv2d(x, layer.weight * layer.weight.shape[1] ** -0.5, layer.bias, padding=1)
        return F.conv2d(x, layer.weight, layer.bias, padding=1) / x.shape[1] if self.how == "output" else layer(x)


@settings(**{**CLOSE, "max_examples": 12})
@given(
    place=st.integers(0, 4), how=st.sampled_from(["input", "weight", "output"]), depth=st.integers(9, 16),
    bias=st.booleans(),
)  # fmt: skip
def test_a_hard_wired_scale_is_seen_through_a_deep_network(place: int, how: str, depth: int, bias: bool) -> None:
    torch.manual_seed(0)
    before = "stem" if place == 0 else f"rest.{place - 1}"
    space = eyas.trace(Deep(place, how, depth, bias=bias).eval(), (IMAGES,))
    assert "hard-wired" in frozen_reason(space, before)
    assert len(space.groups) == depth
    assert len(eyas.trace(Deep(place, "", depth, bias=bias).eval(), (IMAGES,)).groups) == depth + 1
