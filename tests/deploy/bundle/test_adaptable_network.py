"""The file whose statistics may be replaced, against PyTorch with the same statistics."""

import copy
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from eyas.calibration import Calibrator
from eyas.deploy.bn_statistics import bn_statistics
from eyas.deploy.bundle.adaptable_network import ADAPTABLE, COLLECTING, write_adaptable
from eyas.deploy.bundle.adapted_classifier import open_session
from eyas.deploy.exporters.onnx import Onnx
from eyas.deploy.named_outputs import flattened
from eyas.errors import ExportError
from models.mobilenet_v2 import InvertedResidual
from models.resnet_cifar import resnet20


class MobileNet(nn.Module):
    """Depthwise convolutions, a linear bottleneck, ReLU6, and batch-norm on a vector before the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8, eps=1e-3)
        self.blocks = nn.Sequential(InvertedResidual(8, 8, 1, 2), InvertedResidual(8, 12, 2, 3))
        self.vector_norm = nn.BatchNorm1d(12, affine=False)
        self.classifier = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(nn.functional.relu6(self.norm(self.stem(x))))
        return self.classifier(self.vector_norm(x.mean((2, 3))))


NETWORKS = {"resnet20": lambda: resnet20(10, width=4), "mobilenet": MobileNet}


@pytest.fixture(scope="module", params=NETWORKS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """A network whose scales and statistics are its own, and the folder of its files."""
    torch.manual_seed(0)
    network = NETWORKS[request.param]().eval()
    for layer in network.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.affine:
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0, 0.3)
    Calibrator.parse("pooled")(network, [torch.randn(32, 3, 16, 16)])
    folder = tmp_path_factory.mktemp(request.param)
    layers = write_adaptable(network, torch.zeros(1, 3, 16, 16), Onnx(), folder)
    names = {name for name in bn_statistics(network, 1) if name.endswith((".mean", ".var"))}
    assert {f"{layer}.{part}" for layer in layers for part in ("mean", "var")} == names
    return network, folder


@pytest.fixture(scope="module")
def field() -> Tensor:
    return torch.randn(40, 3, 16, 16, generator=torch.Generator().manual_seed(2)) * 1.7 + 0.6


def answers(network: nn.Module, images: Tensor) -> np.ndarray:
    with torch.inference_mode():
        return network(images).numpy()


def statistics_of(network: nn.Module) -> dict[str, np.ndarray]:
    told = bn_statistics(network, 1)
    return {name: value.numpy() for name, value in told.items() if name.endswith((".mean", ".var"))}


def test_its_own_statistics_and_others_give_what_pytorch_gives(written: tuple[nn.Module, Path], field: Tensor) -> None:
    network, folder = written
    adapted = copy.deepcopy(network)
    Calibrator.parse("pooled")(adapted, field.split(20))
    assert abs(answers(adapted, field) - answers(network, field)).max() > 0.05
    for one in (network, adapted):
        session = open_session(folder / ADAPTABLE, 1, statistics_of(one))
        np.testing.assert_allclose(
            session.run(["logits"], {"images": field.numpy()})[0], answers(one, field), atol=1e-4, rtol=0
        )
    own = onnxruntime.InferenceSession(folder / ADAPTABLE)
    np.testing.assert_allclose(own.run(None, {"images": field.numpy()})[0], answers(network, field), atol=1e-4, rtol=0)


def test_collected_statistics_are_those_of_the_batch(written: tuple[nn.Module, Path], field: Tensor) -> None:
    network, folder = written
    adapted = copy.deepcopy(network)
    Calibrator.parse("pooled")(adapted, [field])
    session = onnxruntime.InferenceSession(folder / COLLECTING)
    names = [output.name for output in session.get_outputs()][1:]
    collected = dict(zip(names, session.run(names, {"images": field.numpy()}), strict=True))
    expected = statistics_of(adapted)
    assert collected.keys() == {f"batch/{name}" for name in expected}
    for name, value in expected.items():
        np.testing.assert_allclose(collected[f"batch/{name}"], value, atol=1e-4, rtol=1e-4)


def test_the_runtime_folds_them_where_a_convolution_stands_before(
    written: tuple[nn.Module, Path], tmp_path: Path
) -> None:
    """So that the file is as fast as ``model.onnx``; what stands behind no convolution is a layer there, too."""
    network, folder = written
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "optimised.onnx"), 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    onnxruntime.InferenceSession(folder / ADAPTABLE, options)
    left = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx", load_external_data=False).graph.node]
    assert left.count("BatchNormalization") == isinstance(network, MobileNet)


class Twice(nn.Module):
    """Uses a batch-norm twice, or never, or answers with two tensors."""

    def __init__(self, uses: int) -> None:
        super().__init__()
        self.conv, self.norm, self.uses = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), uses
        self.other = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        x = self.other(self.conv(x))
        for _ in range(self.uses):
            x = self.norm(x).relu()
        x = x.mean((2, 3))
        return {"out": x, "aux": -x} if self.uses == 1 else x


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()),
            "has no batch-norm: there is nothing that a device could",
        ),
        (Twice(2), "batch-norm 'norm' runs twice"),
        (Twice(0), "batch-norm 'norm' never runs"),
    ],
)
def test_what_cannot_be_adapted_is_refused(network: nn.Module, message: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=message):
        write_adaptable(network.eval(), torch.zeros(1, 3, 8, 8), Onnx(), tmp_path)


def test_layers_keep_their_names_behind_several_outputs_and_files_repeat(tmp_path: Path) -> None:
    network = flattened(Twice(1).eval(), torch.zeros(2, 3, 8, 8), "out")
    for name in "ab":
        (tmp_path / name).mkdir()
        assert write_adaptable(network, torch.zeros(1, 3, 8, 8), Onnx(), tmp_path / name) == ("other", "norm")
    for file in (tmp_path / "a").iterdir():
        content = file.read_bytes()
        assert content == (tmp_path / "b" / file.name).read_bytes()
        assert b".py" not in content
        assert str(Path(__file__).parents[3]).encode() not in content
