"""The gate of an artifact: numbers by hand, limits that it names, the worst image, the first layer that differs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from eyas.deploy.artifact_gate import ArtifactLimits, compare_artifact, judged_share
from eyas.deploy.exporters import Exporter
from eyas.deploy.first_divergence import first_divergence
from eyas.errors import ParityError

LOOSE = ArtifactLimits(None, None, 0.0, 1.0)
EXPECTED = torch.tensor([[1.0, 4.0], [3.0, 2.0], [0.0, 1.0], [5.0, -8.0]])
ACTUAL = torch.tensor([[1.0, 3.5], [1.0, 2.0], [0.0, 1.0], [5.0, -8.0]])
LABELS = torch.tensor([1, 0, 1, 0])


def test_numbers_by_hand() -> None:
    parity = compare_artifact({"logits": EXPECTED}, {"other": ACTUAL}, LABELS)
    assert (parity.logits.max_difference, parity.logits.relative_difference, parity.logits.agreement) == (2, 0.25, 0.75)
    assert (parity.accuracy, parity.accuracy_change, parity.worst, parity.outputs) == (0.75, -0.25, 1, {})


def test_the_worst_image_is_one_whose_answer_changed() -> None:
    actual = EXPECTED.clone()
    actual[0] += torch.tensor([0.0, 9.0])  # far off, with the same answer
    actual[2] += torch.tensor([1.5, 0.0])
    assert compare_artifact({"logits": EXPECTED}, {"logits": actual}, LABELS).worst == 2
    actual[2] = EXPECTED[2]
    assert compare_artifact({"logits": EXPECTED}, {"logits": actual}, LABELS).worst == 0
    actual[3] = torch.nan
    assert compare_artifact({"logits": EXPECTED}, {"logits": actual}, LABELS).worst == 3


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        (ArtifactLimits(1.0, None, 0.0, 1.0), "max_difference"),
        (ArtifactLimits(None, 0.2, 0.0, 1.0), "max_relative_difference"),
        (ArtifactLimits(None, None, 0.9, 1.0), "min_agreement"),
    ],
)
def test_a_broken_limit_is_named_with_the_worst_image(limits: ArtifactLimits, named: str) -> None:
    parity = compare_artifact({"logits": EXPECTED}, {"logits": ACTUAL}, LABELS)
    parity.require("model.onnx", LOOSE, str)
    with pytest.raises(ParityError, match=rf"model\.onnx .*`{named}`.* image 1 is the worst"):
        parity.require("model.onnx", limits, lambda worst: f"image {worst} is the worst")


def test_one_image_may_be_lost_and_a_second_one_only_within_the_limit() -> None:
    expected = torch.eye(10)
    for wrong, limit, passes in ((1, 0.0, True), (2, 0.0, False), (2, 0.2, True), (3, 0.25, False)):
        actual = expected.clone()
        actual[:wrong] = actual[:wrong].roll(1, dims=1)
        parity = compare_artifact({"logits": expected}, {"logits": actual}, torch.arange(10))
        limits = ArtifactLimits(None, None, 0.0, limit)
        if passes:
            parity.require("model.int8.onnx", limits, str)
        else:
            with pytest.raises(ParityError, match=r"a drop of at most .* points \(`max_accuracy_drop`\)"):
                parity.require("model.int8.onnx", limits, str)


def test_of_pixels_agreement_is_per_pixel_and_mean_iou_decides() -> None:
    labels = torch.zeros(4, 5, 5, dtype=torch.int64)
    labels[:, 0, 0] = 1
    expected = torch.nn.functional.one_hot(labels, 2).permute(0, 3, 1, 2).float()
    actual = expected.clone()
    actual[2, :, 0, 0] = torch.tensor([1.0, 0.0])  # 1 pixel of 100, and 1 of 4 of its class
    parity = compare_artifact({"logits": expected}, {"logits": actual}, labels)
    told = parity.as_dict()
    assert (told["agreement"], told["accuracy"], parity.worst) == (0.99, 0.99, 2)
    mean_iou = (96 / 97 + 3 / 4) / 2
    assert told["mean_iou"] == pytest.approx(mean_iou)
    assert told["mean_iou_change"] == pytest.approx(mean_iou - 1)
    assert judged_share(told) == ("mean IoU", told["mean_iou"])
    parity.require("model.int8.onnx", ArtifactLimits(None, None, 0.99, 0.14), str)
    words = r"model\.int8\.onnx has a mean IoU of 86\.98 % \(of 4 test images\), PyTorch of 100\.00 %; .* 12 points"
    with pytest.raises(ParityError, match=words):
        parity.require("model.int8.onnx", ArtifactLimits(None, None, 0.0, 0.12), str)
    with pytest.raises(ParityError, match="top-1 agreement 0.9900"):
        parity.require("model.int8.onnx", ArtifactLimits(None, None, 0.995, 1.0), str)


def test_another_number_of_outputs_is_refused() -> None:
    with pytest.raises(ParityError, match="2 outputs, PyTorch 1"):
        compare_artifact({"logits": EXPECTED}, {"logits": ACTUAL, "features": ACTUAL}, LABELS)


class Residual(nn.Module):
    """Convolutions with batch-norm, one of which is to be changed in the file."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4))
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.head(torch.relu(x + self.body(x)).mean((2, 3)))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    model = Residual()
    with torch.no_grad():
        for _ in range(10):
            model(torch.randn(16, 1, 8, 8))
    return model.eval()


def changed(path: Path, name: str, change: Callable[[np.ndarray], np.ndarray]) -> Path:
    proto = onnx.load(path)
    (tensor,) = [tensor for tensor in proto.graph.initializer if tensor.name == name]
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), name))
    onnx.save(proto, path)
    return path


@pytest.mark.parametrize(
    ("weight", "layer"), [("stem.0.weight", "stem.1"), ("body.0.weight", "body.1"), ("head.weight", "head")]
)
def test_the_first_layer_that_differs_is_the_one_whose_weights_were_changed(
    weight: str, layer: str, network: nn.Module, tmp_path: Path
) -> None:
    image = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    path = Exporter.parse("onnx")(network, image, tmp_path / "model.onnx")
    assert first_divergence(network, path, image, 1e-3).startswith("no layer is off by more than 0.001, the most is ")
    changed(path, weight, lambda values: values * 1.1)
    assert first_divergence(network, path, image, 1e-3).startswith(f"the first layer that differs is {layer}, by ")


def test_in_8_bits_what_is_read_of_a_layer_is_compared(network: nn.Module, tmp_path: Path) -> None:
    images = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    path = Exporter.parse("onnx_int8")(network, images, tmp_path / "model.int8.onnx")
    assert first_divergence(network, path, images[:1], 0.25).startswith("no layer is off by more than 0.25")
    narrow = Exporter.parse("onnx_int8")(network, images / 10, tmp_path / "narrow.int8.onnx")
    assert first_divergence(network, narrow, images[:1], 0.25).startswith("the first layer that differs is stem.")


def test_where_layers_cannot_be_looked_into_it_says_why(network: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    assert first_divergence(network, path, torch.zeros(1, 1, 8, 8), 1e-3) == (
        "the layer is not known: files of the form .pt2 do not give out what their layers compute"
    )
