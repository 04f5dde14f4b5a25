"""What is not understood freezes exactly what it touches, and says so."""

import pytest
import torch
from torch import Tensor, nn

import eyas
from eyas.errors import TraceError
from eyas.pruning.tracing import rule_registry
from tests.pruning.oracle import check, frozen_reason, group_of


class Odd(nn.Module):
    def __init__(self, operation: object) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Conv2d(i, o, 1) for i, o in ((3, 8), (8, 6), (6, 5), (5, 2)))
        self.operation = operation

    def forward(self, x: Tensor) -> Tensor:
        return self.d(self.c(self.operation(self.b(self.a(x)))))


OPERATIONS = {
    "fft": lambda x: torch.fft.fft(x, dim=1).real,
    "cumsum": lambda x: x.cumsum(1),
    "softmax": lambda x: x.softmax(1),
    "sort": lambda x: x.sort(dim=1).values,
    "cosine": lambda x: x / x.norm(dim=1, keepdim=True),
    "normalize": lambda x: torch.nn.functional.normalize(x, dim=1),
    "einsum": lambda x: torch.einsum("nchw,ndhw->ncd", x, x)[..., None].mean(2, keepdim=True) + x,
    "topk": lambda x: x * (x >= x.topk(2, dim=1).values[:, 1:]),
    "literal scale": lambda x: x / x.shape[1],
    "constant": lambda x: x + torch.arange(6.0).double().view(6, 1, 1),
    "local response": nn.LocalResponseNorm(3),
    "index": lambda x: x[:, torch.tensor([5, 4, 3, 2, 1, 0])],
    "frexp": lambda x: torch.frexp(x).mantissa,
    "a sum of all": lambda x: x + x.sum().exp().reshape(1),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_only_the_touched_group_freezes(name: str) -> None:
    space = check(Odd(OPERATIONS[name]), (torch.randn(2, 3, 4, 4),), macs=name != "einsum")
    assert {group.name for group in space.groups} == {"a", "c"}
    assert frozen_reason(space, "b")


def test_the_reason_names_operator_module_and_line() -> None:
    reason = frozen_reason(check(Odd(OPERATIONS["cumsum"]), (torch.randn(2, 3, 4, 4),), seeds=1), "b")
    assert "cumsum runs over its channels" in reason
    assert "test_unknown.py" in reason


def test_a_form_that_a_rule_does_not_follow_is_named() -> None:
    reason = frozen_reason(check(Odd(OPERATIONS["frexp"]), (torch.randn(2, 3, 4, 4),), seeds=1), "b")
    assert reason.startswith("operator frexp is not understood where it returns several tensors")


@pytest.mark.parametrize(
    ("bug", "error"),
    [
        (lambda call: call.valeu("self"), AttributeError),
        (lambda call: call.value("slef"), KeyError),
        (lambda call: call.value("self").at("dim"), TypeError),
        (lambda call: call["slef"], KeyError),
        (lambda call: call.optional("slef"), KeyError),
        (lambda call: call.attribute("num_groups_x", call.value("self").at(1)), AttributeError),
    ],
)
def test_a_bug_in_a_rule_is_raised_and_freezes_nothing(
    bug: object, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, images = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 2, 1)), (torch.randn(2, 3, 4, 4),)
    assert [group.name for group in eyas.trace(model, images).groups] == ["0"]
    monkeypatch.setitem(rule_registry._RULES, "relu", bug)
    with pytest.raises(error):
        eyas.trace(model, images)


@pytest.mark.parametrize("name", ["convolutoin", "tanhshrink", "eyas_tests::swihs"])
def test_a_rule_for_what_is_no_operator_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match=f"a rule for '{name}' in .*: ATen has no such operator"):
        rule_registry.rule(name)(lambda call: call.value("self"))
    assert name not in rule_registry._RULES


@pytest.mark.parametrize("layer", [nn.Tanhshrink(), nn.Softmin(2)])
def test_a_layer_without_an_operator_of_its_own_is_followed_by_its_parts(layer: nn.Module) -> None:
    assert {group.name for group in check(Odd(layer), (torch.randn(2, 3, 4, 4),)).groups} == {"a", "b", "c"}


@torch.library.custom_op("eyas_tests::swish", mutates_args=())
def swish(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


@swish.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


def test_a_custom_operator_is_named() -> None:
    space = check(Odd(lambda x: swish(x)), (torch.randn(2, 3, 4, 4),))
    assert "operator eyas_tests::swish is not understood" in frozen_reason(space, "b")
    assert group_of(space, "a").channels == 8


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_a_network_that_cannot_be_captured_is_refused_with_a_reason() -> None:
    with pytest.raises(TraceError, match="torch.export cannot capture Branching"):
        eyas.trace(Branching(), (torch.randn(2, 3),))
    with pytest.raises(TraceError, match="must be a tuple"):
        eyas.trace(nn.Conv2d(3, 2, 1), torch.randn(1, 3, 4, 4))


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_with_a_computed_weight_is_listed_under_its_own_name(bias: bool) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1, bias=bias), nn.Conv2d(8, 6, 1), nn.Conv2d(6, 2, 1))
    nn.utils.parametrizations.weight_norm(model[0])
    space = eyas.trace(model, (torch.randn(2, 3, 4, 4),))
    assert "_weight_norm is not understood" in frozen_reason(space, "0")
    assert [group.name for group in space.groups] == ["1"]


def test_only_the_parameters_that_are_unread_are_called_unused() -> None:
    class Biasless(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.idle = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 2, 1), nn.Conv2d(3, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(nn.functional.conv2d(x, self.a.weight))

    space = eyas.trace(Biasless(), (torch.randn(2, 3, 5, 5),))
    reasons = {group.name: group.reason for group in space.frozen}
    assert reasons["a"] == "its bias is not used in the forward pass"
    assert reasons["idle"] == "its parameters are not used in the forward pass"


@pytest.mark.parametrize("step", ["slice_model", "mask_consumers", "layers_apart"])
def test_a_bug_in_the_verification_itself_raises_instead_of_freezing(
    monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Only what the user's forward code raises on narrowed networks freezes; what is ours is a bug."""

    def fail(*_: object, **__: object) -> None:
        raise AttributeError("a typo of ours")

    monkeypatch.setattr(f"eyas.pruning.tracing.verify.{step}", fail)
    with pytest.raises(AttributeError, match="a typo of ours"):
        eyas.trace(nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1)), (torch.randn(2, 3, 4, 4),))
