"""Modules used twice, tied parameters, several inputs."""

import torch
from torch import Tensor, nn

import eyas
from tests.pruning.networks import Siamese
from tests.pruning.oracle import check, difference, group_of, masked


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.shared, self.c = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.shared(torch.relu(self.shared(self.a(x)))))


def test_a_module_used_twice_ties_input_and_output() -> None:
    space = check(Twice(), (torch.randn(2, 3, 5, 5),))
    assert len(space.groups) == 1
    assert space.groups[0].channels == 8
    dense, half = space.cost(), space.cost({"a": 4})
    assert dense.macs == 25 * (3 * 8 + 2 * 8 * 8 * 9 + 8 * 2)
    assert half.macs == 25 * (3 * 4 + 2 * 4 * 4 * 9 + 4 * 2)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.out = (
            nn.Conv2d(3, 6, 1),
            nn.Conv2d(6, 6, 1),
            nn.Conv2d(6, 6, 1),
            nn.Conv2d(6, 2, 1),
        )
        self.c.weight = self.b.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.c(torch.relu(self.b(self.a(x)))))


def test_tied_parameters_stay_tied() -> None:
    model = Tied()
    space = eyas.trace(model, (torch.randn(2, 3, 5, 5),))
    plan = space.plan({group.name: 3 for group in space.groups})
    small = eyas.prune(model, space, plan)
    assert small.c.weight is small.b.weight
    assert small.b.weight.shape == (3, 3, 1, 1)
    images = torch.randn(2, 3, 5, 5)
    with torch.no_grad():
        assert difference(small.eval()(images), masked(model.eval(), space.slices(plan))(images)) < 1e-5
    assert space.cost(plan.widths).params == sum(p.numel() for p in small.parameters())


def test_two_towers_one_keyword_input() -> None:
    space = check(Siamese(), (torch.randn(2, 3, 16, 16),), {"right": torch.randn(2, 3, 16, 16)})
    assert group_of(space, "tower.0.0").channels == 32
    assert group_of(space, "fc1").channels == 64


class Nested(nn.Module):
    """Dictionary in, dictionary and tuple out."""

    def __init__(self) -> None:
        super().__init__()
        self.rgb, self.depth = nn.Conv2d(3, 6, 1), nn.Conv2d(1, 6, 1)
        self.mask, self.label = nn.Conv2d(6, 2, 1), nn.Linear(6, 3)

    def forward(self, images: dict[str, Tensor], scale: float = 1.0) -> dict[str, object]:
        x = self.rgb(images["rgb"]) + scale * self.depth(images["depth"])
        return {"mask": self.mask(x), "pair": (self.label(x.mean((2, 3))), x.amax((1, 2, 3)) * 0 + 1)}


def test_dictionaries_tuples_and_plain_arguments() -> None:
    model = Nested()
    images = {"rgb": torch.randn(2, 3, 5, 5), "depth": torch.randn(2, 1, 5, 5)}
    space = eyas.trace(model, (images,), {"scale": 0.5})
    assert {group.name for group in space.frozen} == {"mask", "label", "rgb"}
