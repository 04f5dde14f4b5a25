"""Networks that cannot be traced end in one line."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.fx
from torch import Tensor, nn

import eyas
from eyas.errors import TraceError

IMAGES = torch.rand(2, 3, 12, 12)


class Selecting(nn.Module):
    """Answers with as many numbers as its values say."""

    def __init__(self, select: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.select = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3), select

    def forward(self, x: Tensor) -> Tensor:
        return self.select(self.b(self.a(x)).flatten(1))


def plain() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)).eval()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: torch.fx.symbolic_trace(plain()), "the network is a program that torch.fx"),
        (lambda: torch.export.export(plain(), (IMAGES,)).module(), "the network is a program that torch.fx"),
        (lambda: nn.Sequential(nn.Identity(), torch.fx.symbolic_trace(plain())), "1 is a program that torch.fx"),
        (lambda: torch.jit.trace(plain(), IMAGES), "the network is a program that torch.fx"),
        (lambda: torch.relu, "is no nn.Module"),
        (lambda: Selecting(lambda y: y[y > 0]), "size depends on values, `return self.select"),
        (lambda: Selecting(lambda y: y[y > 0].mean()), "size depends on values"),
        (lambda: Selecting(lambda y: torch.nonzero(y)), "size depends on values"),
    ],
)
def test_one_line_says_why(make: Callable[[], Any], reason: str) -> None:
    with pytest.raises(TraceError, match=reason) as caught:
        eyas.trace(make(), (IMAGES,))
    assert "\n" not in str(caught.value)
