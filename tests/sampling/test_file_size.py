"""The predicted size of the exported file against exported files."""

import numpy as np
import pytest
import torch
from torch import nn

import eyas
import models
from eyas.deploy.exporters import Exporter
from eyas.errors import ParameterError
from eyas.sampling.budget import Budget
from eyas.sampling.file_size import FileSize
from tests.pruning.networks import Bottleneck, conv_bn
from tests.pruning.test_depth import between, inverted

IMAGES = torch.zeros(1, 3, 16, 16)


@pytest.fixture(scope="module")
def space():
    model = models.build("resnet8", 10, width=8).eval()
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_()  # folded biases of zero would be left out of the file
    return eyas.trace(model, (IMAGES,))


def test_a_file_is_as_large_as_predicted(space, tmp_path):
    widths = {group.name: max(1, int(0.4 * group.channels)) for group in space.groups}
    small = eyas.prune(space.model, space, space.plan(widths))
    path = Exporter.parse("onnx")(small, IMAGES, tmp_path / "small.onnx")
    predicted = FileSize.of(space).bytes(space.cost(widths).params, np.array(list(widths.values())))
    assert predicted == pytest.approx(path.stat().st_size, rel=0.005)


class Outer(nn.Module):
    """A branch with a residual block in it, all batch-norm behind convolutions."""

    def __init__(self, c, mid):
        super().__init__()
        self.enter, self.inner, self.leave = conv_bn(c, mid), Bottleneck(mid, 5, mid), conv_bn(mid, c, act=None)

    def forward(self, x):
        return x + self.leave(self.inner(self.enter(x)))


def mixed():
    """Blocks of three kinds, one inside another."""
    blocks = Outer(12, 8), Bottleneck(12, 7, 12), inverted(12, 24, 12, se=4), Outer(12, 7), inverted(12, 18, 12, se=4)
    return between(*blocks, c=12, stem=conv_bn(3, 12, 3))


NETWORKS = {
    "resnet20, 8 wide": lambda: models.build("resnet20", 10, width=8),
    "resnet20, 16 wide": lambda: models.build("resnet20", 10, width=16),
    "mixed": mixed,
}


def random_numbers(model):
    """In every tensor: the exporter writes equal ones once."""
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
    return model.eval()


@pytest.fixture(scope="module", params=NETWORKS)
def deep(request):
    torch.manual_seed(0)
    model = random_numbers(NETWORKS[request.param]())
    space = eyas.trace(model, (IMAGES,), depth=True)
    return space, FileSize.of(space)


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_a_file_without_some_blocks_is_as_large_as_predicted(deep, share, tmp_path):
    space, size = deep
    blocks = space.legal.block_table
    halves = np.array([max(1, int(share * group.channels)) for group in space.groups])
    generator = np.random.default_rng(int(10 * share))
    rows = [np.where(blocks.groups_of(generator.random(len(space.blocks)) < chance), 0, halves) for chance in (0.5, 1)]
    for number, widths in enumerate(rows):
        dropped = space.legal.dropped(widths).sum()
        assert dropped >= 2, "several blocks are gone"
        small = eyas.prune(space.model, space, space.plan(widths))
        path = Exporter.parse("onnx")(small, IMAGES, tmp_path / f"{number}.onnx")
        predicted = size.bytes(space.cost(widths).params, widths)
        assert predicted == pytest.approx(path.stat().st_size, abs=100), "but for names and shapes"
    assert np.allclose(size.bytes(space.costs(rows).params, np.array(rows))[1], predicted)


def test_a_batch_norm_that_is_frozen_in_part_is_counted(tmp_path):
    class Concatenated(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.norm, self.c = conv_bn(3, 8), conv_bn(3, 4), nn.BatchNorm2d(12), nn.Conv2d(12, 6, 1)

        def forward(self, x):
            return self.c(self.norm(torch.cat([self.a(x), self.b(x)], 1))).mean((2, 3))

    model = random_numbers(Concatenated())
    space = eyas.trace(model, (IMAGES,), ignore=["b.*"])
    exported = Exporter.parse("onnx")(model, IMAGES, tmp_path / "dense.onnx").stat().st_size
    assert FileSize.of(space).bytes(space.cost().params, space.legal.dense) == exported


def test_bytes_and_shares_of_the_file_are_limits(space, tmp_path, monkeypatch):
    exported = Exporter.parse("onnx")(space.model, IMAGES, tmp_path / "dense.onnx").stat().st_size
    size = FileSize.of(space)
    monkeypatch.setattr(FileSize, "of", lambda _: size)
    assert Budget.of(space, "file_bytes", 0.5).limits[0].target == pytest.approx(0.5 * exported)
    assert Budget.of(space, "file_bytes", 20_000).limits[0].target == 20_000


def test_a_network_that_takes_more_than_images_has_no_file(space, monkeypatch):
    monkeypatch.setattr(space, "example", ((IMAGES, IMAGES), {}))
    with pytest.raises(ParameterError, match="takes one tensor of images and nothing else"):
        Budget.of(space, "file_bytes", 0.5)
