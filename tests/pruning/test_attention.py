"""Attention inside CNNs: what is contracted freezes, values pass."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.pruning.oracle import check, frozen_reason, group_of


class NonLocal(nn.Module):
    """Wang et al. 2018."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.theta, self.phi, self.g = (nn.Conv2d(i, o, 1) for i, o in ((3, 8), (8, 4), (8, 4), (8, 6)))
        self.out, self.head = nn.Conv2d(6, 8, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        q, k, v = (f(x).flatten(2) for f in (self.theta, self.phi, self.g))
        a = torch.softmax(q.transpose(1, 2) @ k, -1)
        y = (a @ v.transpose(1, 2)).transpose(1, 2).reshape(x.shape[0], -1, *x.shape[2:])
        return self.head(x + self.out(y))


def test_non_local_block() -> None:
    space = check(NonLocal(), (torch.randn(2, 3, 4, 4),), macs=False)
    assert {g.name: g.channels for g in space.groups} == {"stem": 8, "g": 6}
    assert "contracted" in frozen_reason(space, "theta")
    assert "contracted" in frozen_reason(space, "phi")


class Heads(nn.Module):
    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.stem, self.qkv, self.proj = nn.Conv2d(3, 8, 1), nn.Linear(8, 24), nn.Linear(8, 8)
        self.mlp1, self.mlp2, self.head, self.fused = nn.Linear(8, 10), nn.Linear(10, 8), nn.Linear(8, 2), fused

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
        if self.fused:
            y = functional.scaled_dot_product_attention(q, k, v)
        else:
            y = torch.softmax(q @ k.transpose(-2, -1) * c**-0.5, dim=-1) @ v
        x = x + self.proj(y.transpose(1, 2).reshape(b, n, c))
        return self.head((x + self.mlp2(functional.gelu(self.mlp1(x)))).mean(1))


def test_heads_are_frozen_and_the_mlp_is_not() -> None:
    for fused in (True, False):
        space = check(Heads(fused), (torch.randn(2, 3, 4, 4),), macs=False)
        assert frozen_reason(space, "qkv")
        assert group_of(space, "mlp1").channels == 10


class WithModule(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.attend = nn.Conv2d(3, 8, 1), nn.MultiheadAttention(8, 2, batch_first=True)
        self.mlp1, self.mlp2 = nn.Linear(8, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        return self.mlp2(torch.relu(self.mlp1(self.attend(x, x, x, need_weights=False)[0].mean(1))))


def test_the_attention_module_freezes_its_width() -> None:
    space = check(WithModule(), (torch.randn(2, 3, 4, 4),), macs=False)
    assert [group.name for group in space.groups] == ["attend.out_proj", "mlp1"]
    assert frozen_reason(space, "stem")
