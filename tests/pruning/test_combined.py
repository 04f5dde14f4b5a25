"""Random networks: hazards stacked on each other, against the oracle."""

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

import eyas
from eyas.pruning.criteria.random import Random
from tests.pruning.networks import SqueezeExcite, shuffle
from tests.pruning.oracle import counted, difference, masked, prepared, random_widths

KINDS = (
    "conv", "conv", "depthwise", "grouped", "bn", "gn", "in", "prelu", "act", "add", "cat", "chunk", "shuffle", "pixel",
    "se", "transposed", "pool", "scale", "swap", "again", "glu", "ln",
)  # fmt: skip


class Step(nn.Module):
    """One random operation on one of the earlier tensors; every tensor is (N, C, 8, 8)."""

    def __init__(self, kind: str, channels: int, other: int, out: int) -> None:
        super().__init__()
        self.kind, self.out = kind, channels
        c, g = channels, 2 if channels % 2 == 0 else 1
        if kind == "conv":
            self.op, self.out = nn.Conv2d(c, out, 3, padding=1), out
        elif kind in ("depthwise", "grouped"):
            n = c if kind == "depthwise" else g
            self.out = 2 * c if kind == "depthwise" and out % 2 else c
            self.op = nn.Conv2d(c, self.out, 3, padding=1, groups=n)
        elif kind == "transposed":
            self.op, self.out = nn.ConvTranspose2d(c, out, 3, padding=1), out
        elif kind == "add":
            self.op = nn.Conv2d(other, c, 1)
        elif kind == "cat":
            self.out = c + other
        elif kind == "pixel":
            self.op, self.out = nn.Conv2d(c, 4 * out, 1), out
        elif kind == "scale":
            self.op = nn.ParameterList([nn.Parameter(torch.randn(c, 1, 1))])
        elif kind == "glu":
            self.op = nn.Conv2d(c, 2 * c, 1)
        elif kind == "again":
            self.op = nn.Conv2d(c, c, 1)
        else:
            made = {
                "bn": lambda: nn.BatchNorm2d(c), "gn": lambda: nn.GroupNorm(g, c), "prelu": lambda: nn.PReLU(c),
                "in": lambda: nn.InstanceNorm2d(c, affine=True), "se": lambda: SqueezeExcite(c, 3),
                "ln": lambda: nn.LayerNorm(c),
            }  # fmt: skip
            self.op = made.get(kind, nn.Identity)()

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        half = x.shape[1] % 2 == 0
        by_kind = {
            "add": lambda: x + self.op(other), "cat": lambda: torch.cat([x, other], 1),
            "chunk": lambda: torch.cat([x.chunk(2, 1)[1], x.chunk(2, 1)[0].relu()], 1) if half else x,
            "shuffle": lambda: shuffle(x, 2) if half else x,
            "pixel": lambda: functional.avg_pool2d(functional.pixel_shuffle(self.op(x), 2), 2),
            "pool": lambda: functional.interpolate(functional.max_pool2d(x, 2), scale_factor=2.0),
            "scale": lambda: x * self.op[0], "act": lambda: functional.hardswish(x),
            "glu": lambda: functional.glu(self.op(x), 1),
            "swap": lambda: x.permute(0, 2, 3, 1).flatten(1, 2).transpose(1, 2).reshape(x.shape[0], -1, 8, 8),
            "again": lambda: self.op(self.op(x).sigmoid()),
            "ln": lambda: self.op(x.movedim(1, -1)).movedim(-1, 1),
        }  # fmt: skip
        return by_kind[self.kind]() if self.kind in by_kind else self.op(x)


class RandomNetwork(nn.Module):
    def __init__(self, recipe: list[tuple[str, int, int, int]]) -> None:
        super().__init__()
        channels, self.sources, steps = [6], [], []
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        for kind, first, second, out in recipe:
            a, b = first % len(channels), second % len(channels)
            if kind == "cat" and channels[a] + channels[b] > 40:
                kind = "act"
            steps.append(Step(kind, channels[a], channels[b], out))
            self.sources.append((a, b))
            channels.append(steps[-1].out)
        self.steps = nn.ModuleList(steps)
        self.head, self.fc = nn.Conv2d(channels[-1], 5, 1), nn.Linear(5 * 64, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        tensors = [self.stem(x)]
        for (a, b), step in zip(self.sources, self.steps, strict=True):
            tensors.append(step(tensors[a], tensors[b]))
        y = self.head(tensors[-1])
        return self.fc(y.flatten(1)), tensors[len(tensors) // 2].mean((1, 2, 3))


recipes = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 99), st.integers(0, 99), st.integers(2, 9)), min_size=2, max_size=9
)


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(recipe=recipes, seed=st.integers(0, 5))
def test_random_networks_compute_what_the_masked_ones_do(recipe: list[tuple[str, int, int, int]], seed: int) -> None:
    torch.manual_seed(seed)
    model = prepared(RandomNetwork(recipe))
    images = (torch.randn(2, 3, 8, 8, dtype=torch.float64),)
    space = eyas.trace(model, images)
    assert "head" in {group.name for group in space.groups}
    assert not [group for group in space.frozen if "hard-wired" in group.reason]
    plan = space.plan(random_widths(space, seed), Random(seed=seed))
    small = eyas.prune(model, space, plan)
    with torch.no_grad():
        assert difference(small(*images), masked(model, space.slices(plan))(*images)) < 1e-9
    cost = space.cost(plan.widths)
    assert (cost.macs * 2, cost.params) == counted(small, images, {})
