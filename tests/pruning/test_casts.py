"""Casts pass channels; torch.export's assertions beside them, and tensors that only name a type, touch nothing."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import prune

import eyas

IMAGES = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
CASTS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "float": lambda _, x: x.float(),
    "double and back": lambda _, x: x.double().float(),
    "to a device": lambda _, x: x.to(x.device),
    "to a type": lambda net, x: x.to(net.fc.weight.dtype),
    "to another": lambda net, x: x.to(net.fc.weight),
    "cpu": lambda _, x: x.cpu(),
    "type": lambda _, x: x.type(torch.float32),
    "type_as": lambda net, x: x.type_as(net.fc.weight),
    "a mask": lambda _, x: x * (x > 0).float(),
    "a mask by type": lambda _, x: x * (x > 0).type_as(x),
    "bfloat16 and back": lambda _, x: x.to(torch.bfloat16).to(torch.float32),
}


class Cast(nn.Module):
    def __init__(self, *names: str) -> None:
        super().__init__()
        self.a, self.b, self.fc, self.names = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 24, 3), nn.Linear(24, 5), names

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.a(x))
        for name in self.names:
            x = CASTS[name](self, x)
        return self.fc(torch.relu(self.b(x)).mean((2, 3)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", CASTS)
def test_a_cast_keeps_channels_prunable(name: str) -> None:
    model = Cast(name).eval()
    space = eyas.trace(model, (IMAGES,))
    assert set(space.widths) == {"a", "b"}
    assert space.cost() == eyas.trace(Cast().eval(), (IMAGES,)).cost()
    eyas.check_parity(model, space, space.plan({"a": 5, "b": 7}), (IMAGES,)).require(1e-5)


@settings(max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(sorted(set(CASTS) - {"bfloat16 and back"})), max_size=4))
def test_casts_one_after_another(names: list[str]) -> None:
    model = Cast(*names).eval()
    space = eyas.trace(model, (IMAGES,))
    assert set(space.widths) == {"a", "b"}
    eyas.check_parity(model, space, space.plan({"a": 3, "b": 9})).require(1e-5)


@pytest.mark.parametrize("layers", ["a", "b", "ab"])
def test_masks_of_torch_pruning(layers: str) -> None:
    model = Cast().eval()
    for layer in layers:
        prune.ln_structured(getattr(model, layer), "weight", 0.5, n=1, dim=0)
    space = eyas.trace(model, (IMAGES,))
    assert set(space.widths) == {"a", "b"}
    small = eyas.prune(model, space, space.plan({"a": 5, "b": 7}))
    assert small(IMAGES).shape == (2, 5)
    eyas.check_parity(model, space, space.plan({"a": 5, "b": 7})).require(1e-5)


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 8, 3, padding=1)

    def forward(self, first: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.b(torch.relu(self.a(x))), first * 2


@settings(max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(shape=st.lists(st.integers(1, 5), max_size=3), batch=st.integers(2, 4))
def test_cost_is_per_image_whatever_the_first_input(shape: list[int], batch: int) -> None:
    space = eyas.trace(TwoInputs().eval(), (torch.rand(shape), torch.rand(batch, 3, 8, 8)))
    assert space.cost().macs == 8 * 8 * 9 * (3 * 16 + 16 * 8)
    assert space.cost().activation_bytes == 4 * 8 * 8 * (16 + 8)
