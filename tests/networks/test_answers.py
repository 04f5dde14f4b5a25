"""What no state dict holds: a loaded network answers as the saved one did, or is refused."""

import copy
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import eyas
from eyas.errors import CheckpointError
from eyas.networks.answers import record_answers, require_answers
from eyas.networks.architecture_record import read_record

EXAMPLE = ((torch.zeros(2, 3, 8, 8),), {})
Change = Callable[["Plain"], object]


class Plain(nn.Module):
    """Two convolutions, and everything that a state dict does not hold."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.bn, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1)
        self.act: Callable[[Tensor], Tensor] = torch.relu
        self.scale, self.turn = 1.0, 0
        self.register_buffer("factor", torch.ones(8, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.act(self.bn(self.a(x))) * self.factor
        return self.b(torch.roll(x, self.turn, 2) * self.scale).mean((2, 3)), x[:, :2, :3, :3]


CHANGES: dict[str, Change] = {
    "buffer": lambda net: setattr(net, "factor", torch.rand(8, 1, 1)),
    "one entry of a buffer": lambda net: net.get_buffer("factor")[3].mul_(1.5),
    "float": lambda net: setattr(net, "scale", random.random()),
    "function": lambda net: setattr(net, "act", torch.nn.functional.silu),
    "eps": lambda net: setattr(net.bn, "eps", 0.1),
    "padding": lambda net: setattr(net.a, "padding", (0, 0)),
}


def saved(network: nn.Module, folder: Path) -> nn.Module:
    space = eyas.trace(network, EXAMPLE[0])
    plan = space.plan({group.name: 4 for group in space.groups})
    small = eyas.prune(network, space, plan).eval()
    eyas.save(small, folder, space=space, plan=plan, architecture="mine:net")
    return small


@pytest.mark.parametrize("name", CHANGES)
def test_what_was_set_after_the_factory_ran_is_refused(name: str, tmp_path: Path) -> None:
    network = Plain().eval()
    CHANGES[name](network)
    saved(network, tmp_path)
    with pytest.raises(CheckpointError, match="answers otherwise now: .* from its arguments"):
        eyas.load(tmp_path, factory=Plain)


def test_the_same_network_is_loaded_and_folders_without_answers_are_too(tmp_path: Path) -> None:
    small = saved(Plain().eval(), tmp_path)
    images = torch.randn(2, 3, 8, 8)
    assert read_record(tmp_path).answers is not None
    for loaded in (eyas.load(tmp_path, factory=Plain) for _ in range(2)):
        assert all(torch.equal(a, b) for a, b in zip(loaded(images), small(images), strict=True))


@given(seed=st.integers(0, 2**31))
@settings(max_examples=10, deadline=None)
def test_rounding_is_forgiven_and_little_else(seed: int) -> None:
    torch.manual_seed(seed)
    network = Plain().eval()
    recorded = record_answers(network, EXAMPLE)
    assert recorded is not None
    rounded = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in rounded.parameters():
            parameter.mul_(1 + 1e-6 * torch.rand_like(parameter))
    require_answers(rounded, recorded, "the file")
    rounded.scale = 1.01
    with pytest.raises(CheckpointError):
        require_answers(rounded, recorded, "the file")


def test_random_answers_and_integers_are_not_recorded() -> None:
    class Noisy(Plain):
        def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
            return nn.functional.dropout(super().forward(x)[0], training=True)

    class Classes(Plain):
        def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(x)[0].argmax(1)

    assert record_answers(Noisy(), EXAMPLE) is None
    assert record_answers(Classes(), EXAMPLE) is None
