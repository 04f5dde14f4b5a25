"""Splits, chunks, slices: parts keep their share of the width, or the literal freezes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.pruning.oracle import check, frozen_reason, group_of


class Parted(nn.Module):
    def __init__(self, part: Callable[[Tensor], tuple[Tensor, ...]], sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.conv, self.part = nn.Conv2d(3, 16, 1), part
        self.heads = nn.ModuleList([nn.Conv2d(size, 5, 1) for size in sizes])
        self.out = nn.Conv2d(5, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.part(torch.relu(self.conv(x)))
        return self.out(sum(head(part) for head, part in zip(self.heads, parts, strict=True)))


COMPUTED = {
    "chunk": (lambda x: x.chunk(2, 1), (8, 8), 2),
    "chunk4": (lambda x: torch.chunk(x, 4, dim=1), (4, 4, 4, 4), 4),
    "split by half": (lambda x: x.split(x.shape[1] // 2, 1), (8, 8), 2),
    "slices by half": (lambda x: (x[:, : x.shape[1] // 2], x[:, x.shape[1] // 2 :]), (8, 8), 2),
    "quarter": (lambda x: x.split([x.shape[1] // 4, x.shape[1] - x.shape[1] // 4], 1), (4, 12), 4),
    "narrow": (lambda x: (x.narrow(1, 0, x.shape[1] // 2), x), (8, 16), 2),
    "strided": (lambda x: (x[:, ::2], x[:, 1::2]), (8, 8), 2),
    "tensor_split": (lambda x: torch.tensor_split(x, 2, dim=1), (8, 8), 2),
    "hsplit": (lambda x: torch.hsplit(x, 2), (8, 8), 2),
    "unbind of a view": (lambda x: x.view(x.shape[0], 2, -1, *x.shape[2:]).unbind(1), (8, 8), 2),
    "unbind, inner literal": (lambda x: x.view(x.shape[0], -1, 2, *x.shape[2:]).unbind(2), (8, 8), 2),
}
LITERAL = {
    "split": (lambda x: x.split([8, 8], 1), (8, 8)),
    "split by size": (lambda x: x.split(8, 1), (8, 8)),
    "slices": (lambda x: (x[:, :4], x[:, 4:]), (4, 12)),
    "narrow": (lambda x: (x.narrow(1, 2, 6), x), (6, 16)),
    "view": (lambda x: x.view(x.shape[0], 2, 8, *x.shape[2:]).unbind(1), (8, 8)),
}


@pytest.mark.parametrize("name", COMPUTED)
def test_computed_parts_shrink_together(name: str) -> None:
    part, sizes, step = COMPUTED[name]
    space = check(Parted(part, sizes), (torch.randn(2, 3, 5, 5),), seeds=4)
    assert (group_of(space, "conv").channels, group_of(space, "conv").step) == (16, step)
    assert group_of(space, "heads.0").channels == 5


@pytest.mark.parametrize("name", LITERAL)
def test_literal_parts_freeze_and_say_where(name: str) -> None:
    part, sizes = LITERAL[name]
    space = check(Parted(part, sizes), (torch.randn(2, 3, 5, 5),))
    assert "hard-wired" in frozen_reason(space, "conv")
    assert group_of(space, "heads.0").channels == 5


def test_picking_channels_by_number_freezes() -> None:
    space = check(Parted(lambda x: (x[:, [1, 3, 5]], x[:, 7:8]), (3, 1)), (torch.randn(2, 3, 5, 5),))
    assert frozen_reason(space, "conv")
    assert group_of(space, "heads.0").channels == 5


class CrossStage(nn.Module):
    """The C2f block of YOLOv8 (Jocher et al. 2023): chunk, append, concat."""

    def __init__(self) -> None:
        super().__init__()
        self.cv1 = nn.Conv2d(3, 8, 1)
        self.m = nn.ModuleList([nn.Conv2d(4, 4, 3, padding=1) for _ in range(2)])
        self.cv2 = nn.Conv2d(16, 6, 1)
        self.out = nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = list(self.cv1(x).chunk(2, 1))
        y.extend(y[-1] + m(y[-1]) for m in self.m)
        return self.out(self.cv2(torch.cat(y, 1)))


def test_chunk_append_concat() -> None:
    space = check(CrossStage(), (torch.randn(2, 3, 5, 5),), seeds=5)
    assert (group_of(space, "cv1").channels, group_of(space, "cv1").step) == (8, 2)


def test_gated_linear_unit() -> None:
    model = nn.Sequential(nn.Conv2d(3, 12, 1), nn.GLU(dim=1), nn.Conv2d(6, 2, 1))
    space = check(model, (torch.randn(2, 3, 5, 5),))
    assert group_of(space, "0").step == 2
