"""Gates in front of the layers that read channels: what a cut network answers and costs; nothing else changes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import eyas
from eyas.calibration.batchnorm import batch_statistics
from eyas.errors import DataError
from eyas.pruning.criteria.random import Random
from eyas.pruning.gated_network import GatedNetwork, macs_share
from tests.pruning.networks import (
    Bottleneck,
    CifarResNet,
    DenseLayer,
    Inverted,
    ShuffleUnit,
    SqueezeExcite,
    UNet,
    conv_bn,
)
from tests.pruning.oracle import prepared, random_widths

IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Plain(nn.Module):
    """No batch-norm; down and up again, a class per pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up, self.head = nn.Conv2d(3, 6, 2, 2), nn.ConvTranspose2d(6, 4, 2, 2), nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.up(torch.tanh(self.down(x)))))


class Concatenated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.layer, self.head = conv_bn(3, 6, 3), DenseLayer(6, 4), nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(torch.cat([x, self.layer([x])], 1).mean((2, 3)))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "coupled and grouped": lambda: nn.Sequential(
        conv_bn(3, 8, 3, 4), Bottleneck(8, 6, 16, 2, g=2), nn.Flatten(), nn.Linear(64, 3)
    ),
    "residual, padded shortcuts": lambda: CifarResNet(1),
    "depthwise": lambda: nn.Sequential(
        conv_bn(3, 6), Inverted(6, 12, 6, 3, 1, 4, nn.ReLU, nn.Sigmoid), nn.Conv2d(6, 3, 1)
    ),
    "shuffled": lambda: nn.Sequential(conv_bn(3, 8), ShuffleUnit(8, 8, 1), nn.Conv2d(8, 3, 1)),
    "squeezed": lambda: nn.Sequential(conv_bn(3, 8), SqueezeExcite(8, 4), nn.Conv2d(8, 3, 1)),
    "concatenated": Concatenated,
    "no batch-norm, transposed": Plain,
    "u-net": lambda: UNet((4, 6)),
}


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return prepared(NETWORKS[name]())


@pytest.mark.parametrize("name", NETWORKS)
def test_gates_of_0_and_1_answer_and_cost_as_the_cut_network_does(name: str) -> None:
    model = network(name)
    space = eyas.trace(model, (IMAGES[:1],))
    gated = GatedNetwork(model, space)
    for seed in range(3):
        widths = random_widths(space, seed)
        plan = space.plan(widths, Random(seed=seed))
        mask_U = torch.from_numpy(space.mask(plan)[:-1]).double()
        cut = eyas.prune(model, space, plan)
        torch.testing.assert_close(gated(IMAGES, mask_U), cut(IMAGES), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(gated(IMAGES, mask_U.expand(4, -1)), cut(IMAGES), rtol=1e-9, atol=1e-9)
        assert float(macs_share(space, mask_U)) == space.cost(widths).macs / space.cost().macs
    assert gated.gated == gated.entries.keys()
    assert mask_U.min() == 0, "something was cut"


@pytest.mark.parametrize("name", NETWORKS)
def test_gates_of_one_are_the_dense_network(name: str) -> None:
    model = network(name)
    space = eyas.trace(model, (IMAGES[:1],))
    ones_U = torch.ones(int(space.layout.offsets[-1]), dtype=torch.float64)
    assert torch.equal(GatedNetwork(model, space)(IMAGES, ones_U), model(IMAGES))
    assert float(macs_share(space, ones_U)) == 1


def test_each_image_has_gates_of_its_own() -> None:
    model = network("depthwise")
    space = eyas.trace(model, (IMAGES[:1],))
    gated = GatedNetwork(model, space)
    gates_NU = torch.rand(4, gated.units, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    apart = torch.cat([gated(x, gates_U) for x, gates_U in zip(IMAGES.split(1), gates_NU, strict=True)])
    torch.testing.assert_close(gated(IMAGES, gates_NU), apart)


def test_the_gradient_is_that_of_differences() -> None:
    """Of the answers and of the multiply-accumulates, at gates between 0 and 1."""
    model = network("coupled and grouped")
    space = eyas.trace(model, (IMAGES[:1],))
    gated = GatedNetwork(model, space)
    gates_U = torch.rand(gated.units, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda gates: gated(IMAGES[:2], gates), gates_U)
    assert torch.autograd.gradcheck(lambda gates: macs_share(space, gates), gates_U)


def test_recalibrated_batch_norm_normalises_by_the_images_and_keeps_its_statistics() -> None:
    model = network("residual, padded shortcuts")
    space = eyas.trace(model, (IMAGES[:1],))
    gated = GatedNetwork(model, space)
    ones_U = torch.ones(gated.units, dtype=torch.float64)
    with batch_statistics(model):
        expected = model(IMAGES)
    torch.testing.assert_close(gated(IMAGES, ones_U, recalibrated=True), expected)
    torch.testing.assert_close(gated(IMAGES, ones_U), model(IMAGES))
    one = gated(IMAGES[:1], ones_U, recalibrated=True)
    torch.testing.assert_close(one, model(IMAGES[:1]), msg="one image has no statistics")


def test_strengths_are_mean_magnitudes_where_a_channel_is_read() -> None:
    model = network("concatenated")
    space = eyas.trace(model, (IMAGES[:1],))
    seen = GatedNetwork(model, space).strengths(IMAGES)
    stem = model.stem(IMAGES)
    read = torch.relu(model.layer.norm1(stem)).abs().mean((2, 3))  # the layer reads it behind its norm
    read_again = stem.mean((2, 3)).abs()  # the head reads its mean
    start = [group.name for group in space.groups].index("stem.0")
    first = int(space.layout.offsets[start])
    torch.testing.assert_close(seen[:, first : first + 6], (read + read_again) / 2)


def test_gates_of_each_image_need_a_row_per_image() -> None:
    class Folded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 1), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            y = torch.relu(self.a(x)).permute(0, 2, 3, 1)
            return self.b(y.flatten(0, 2))

    model = prepared(Folded())
    space = eyas.trace(model, (IMAGES[:2],))
    gated = GatedNetwork(model, space)
    gated(IMAGES, torch.ones(4))
    for look in (lambda: gated(IMAGES, torch.ones(4, 4)), lambda: gated.strengths(IMAGES)):
        with pytest.raises(DataError, match=r"b.weight reads shape \(1024, 4\) for 4 images.* take a criterion with"):
            look()
