"""The layers of a space and their widths, against the network's own MACs and the layers of networks really pruned."""

import logging
import math
from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

import eyas
from eyas.deploy.latency.layer_onnx import layer_onnx
from eyas.deploy.latency.priced_layers import LayerShape, PricedLayer, priced_layers
from models import build
from tests.pruning import networks
from tests.pruning.oracle import random_widths


class Mixed(nn.Module):
    """A grouped, a depthwise and a transposed convolution, a shared layer, branches joined, a flattened map."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.grouped = nn.Conv2d(16, 32, 3, padding=1, groups=4)
        self.depthwise = nn.Conv2d(32, 32, 3, padding=2, dilation=2, groups=32)
        self.down = nn.Conv2d(32, 12, 2, stride=2)
        self.up = nn.ConvTranspose2d(12, 10, 3, stride=2, padding=1, output_padding=1)
        self.shared = nn.Conv2d(42, 42, 1)
        self.linear = nn.Linear(42 * 16, 20)
        self.head = nn.Linear(20, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.depthwise(self.grouped(self.stem(x)).relu()).relu()
        x = torch.cat([x, self.up(self.down(x))], 1)
        x = self.shared(self.shared(x).relu())
        x = self.linear(nn.functional.adaptive_avg_pool2d(x, 4).flatten(1))
        return self.head(x.relu())


ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    "mixed": Mixed,
    "gated": networks.mobilenet_v3_large,
    "padded shortcuts": lambda: build("resnet8", 10),
}


def macs_of(layer: PricedLayer, inputs: int, outputs: int) -> int:
    """Positions of the output (of the input where transposed) times entries of the weight."""
    shape = layer.shape
    positions = math.prod(shape.size)
    if shape.kernel and "transpose" not in shape.kind:
        half = len(shape.pads) // 2
        spans = zip(
            shape.size, shape.pads[:half], shape.pads[half:], shape.kernel, shape.dilation, shape.stride, strict=True
        )
        positions = math.prod((s + a + b - d * (k - 1) - 1) // t + 1 for s, a, b, k, d, t in spans)
    return positions * math.prod(shape.kernel) * inputs * outputs


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_macs_of_all_layers_are_those_of_the_network_at_any_widths(name: str) -> None:
    space = eyas.trace(ARCHITECTURES[name]().eval(), (torch.zeros(2, 3, 32, 32),))
    layers = priced_layers(space)
    rng = np.random.default_rng(0)
    rows = np.stack([space.vector(random_widths(space, rng)) for _ in range(5)] + [space.legal.dense])
    units = space.legal.units(rows)
    macs = [macs_of(layer, layer.inputs(units), layer.outputs(units)) for layer in layers]
    assert np.sum(macs, axis=0).tolist() == space.costs(rows).macs.tolist()
    for layer in layers:
        for form in (layer.inputs, layer.outputs):
            assert np.isin(form(units), form.reachable(space.legal.dense // space.legal.steps)).all()


SHAPES = [
    LayerShape("conv2d", (9, 7), (3, 3), (2, 1), (1, 0, 1, 2), (1, 2), (0, 0)),
    LayerShape("conv1d", (12,), (5,), (1,), (2, 2), (1,), (0,)),
    LayerShape("conv2d", (6, 6), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), (0, 0), per_group=(1, 1)),
    LayerShape("conv2d", (6, 6), (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), (0, 0), per_group=(2, 4)),
    LayerShape("conv_transpose2d", (5, 5), (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), (1, 1)),
    LayerShape("conv_transpose2d", (5, 5), (2, 2), (2, 2), (0, 0, 0, 0), (1, 1), (0, 0), per_group=(2, 3)),
    LayerShape("linear", (1,)),
    LayerShape("linear", (6,)),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_layer_alone_computes_in_its_runtime_what_it_is_said_to_be(shape: LayerShape) -> None:
    inputs, outputs = (shape.per_group[1], 3 * shape.per_group[0]) if shape.per_group else (3, 5)
    session = onnxruntime.InferenceSession(layer_onnx(shape, inputs, outputs), providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    images = torch.randn(2, *entry.shape[1:])
    (answer,) = session.run(None, {"images": images.numpy()})
    if not shape.kernel:
        expected = nn.functional.linear(images, torch.full((outputs, inputs), 0.01), torch.full((outputs,), 0.01))
    else:
        dims, transposed = len(shape.kernel), "transpose" in shape.kind
        groups = outputs // shape.per_group[0] if shape.per_group else 1
        size = (inputs, outputs) if transposed and groups == 1 else (outputs, inputs)
        made = inputs * groups if transposed and groups > 1 else outputs
        weight, bias = torch.full((*size, *shape.kernel), 0.01), torch.full((made,), 0.01)
        function = getattr(nn.functional, shape.kind)
        options = {"stride": shape.stride, "dilation": shape.dilation, "groups": groups}
        if transposed:
            options |= {"padding": shape.pads[:dims], "output_padding": shape.output_pads}
        else:
            before, behind = shape.pads[:dims], shape.pads[dims:]
            edges = [edge for pair in zip(reversed(before), reversed(behind), strict=True) for edge in pair]
            images = nn.functional.pad(images, edges)
        expected = function(images, weight, bias, **options).relu()
    assert torch.allclose(torch.from_numpy(answer), expected, atol=1e-5)


def test_paddings_in_words_and_calls_of_functions_are_read() -> None:
    class Same(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(1, 8, 4, padding="same")
            self.weight = nn.Parameter(torch.randn(8, 8, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.conv1d(self.first(x).relu().mean(3), self.weight, None, 2)

    first, second = priced_layers(eyas.trace(Same().eval(), (torch.zeros(1, 1, 6, 6),)))
    assert str(first.shape) == "conv2d 4x4 on 6x6 stride 1x1 pads 1x1x2x2 dilation 1x1"
    assert (second.name, str(second.shape)) == ("weight", "conv1d 3 on 6 stride 2 pads 0x0 dilation 1")


def test_layers_whose_weights_are_computed_are_told(caplog: pytest.LogCaptureFixture) -> None:
    class Summed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.head = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 2, 1)
            self.first, self.second = (nn.Parameter(torch.randn(8, 8, 3, 3)) for _ in range(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(nn.functional.conv2d(self.stem(x).relu(), self.first + self.second).relu())

    space = eyas.trace(Summed().eval(), (torch.zeros(1, 1, 8, 8),))
    with caplog.at_level(logging.WARNING):
        layers = priced_layers(space)
    assert [layer.name for layer in layers] == ["stem.weight", "head.weight"]
    assert "no latency is known of layers whose weights the code computes: first, second" in caplog.text
