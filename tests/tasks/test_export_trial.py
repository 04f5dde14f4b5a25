"""An operator that no exporter takes is told by ``baseline``, before anything is trained."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
import torch
import yaml
from torch import Tensor, nn

import models
from eyas.config import PipelineParams, parse_params
from eyas.deploy.exporters import Exporter
from eyas.deploy.exporters.onnx import Onnx
from eyas.errors import ExportError
from eyas.networks.saved_network import Network
from eyas.progress import silent
from tasks.baseline import FIELDS, baseline
from tasks.export_trial import LONG, try_exporters
from tasks.stage import name_fields

ROOT = Path(__file__).resolve().parents[2]


class Bessel(nn.Module):
    """A layer of its own that computes what ONNX has no operator for."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x)


class Modified(nn.Module):
    """Another one."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.special.i1(x)


class Odd(nn.Module):
    """A convolution, one of the layers above, a linear layer; of several outputs where asked for."""

    def __init__(self, num_classes: int, layer: str = "Bessel", several: bool = False) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.middle = nn.Sequential(nn.ReLU(), {"Bessel": Bessel, "Modified": Modified, "Tanh": nn.Tanh}[layer]())
        self.linear, self.several = nn.Linear(8, num_classes), several

    def forward(self, x: Tensor) -> object:
        features = self.middle(self.norm(self.conv(x))).mean((2, 3))
        return (features, self.linear(features)) if self.several else self.linear(features)


def odd(num_classes: int, **options: object) -> nn.Module:
    """The factory."""
    return Odd(num_classes, **options)


@pytest.fixture
def fussy() -> Iterator[str]:
    """The kind of an exporter of one's own that takes nothing."""

    class Fussy(Exporter):
        kind: Literal["fussy"] = "fussy"

        def __call__(self, model: nn.Module, example_NCHW: Tensor, path: Path) -> Path:
            msg = "layer type 17\nand a long story"
            raise KeyError(msg)

    yield "fussy"
    Exporter.registry.pop("fussy")


@pytest.fixture
def artifacts(pruned_digits: Path, tmp_path: Path) -> Path:
    shutil.copytree(pruned_digits / "fetch", tmp_path / "artifacts/fetch")
    (tmp_path / "artifacts/baseline").mkdir()
    return tmp_path / "artifacts"


def params_of(folder: Path, exporters: tuple[object, ...] = ("onnx",), **arguments: object) -> PipelineParams:
    section = {"architecture": "tests.tasks.test_export_trial:odd", "arguments": arguments, "epochs": 1}
    runtime = {"state": str(folder / "state"), "device": "cpu", "threads": 1}
    return parse_params({"baseline": section, "export": {"exporters": exporters}, "runtime": runtime})


@pytest.mark.parametrize(
    ("layer", "several", "operator"),
    [
        ("Bessel", False, "special_bessel_j0"),
        ("Bessel", True, "special_bessel_j0"),
        ("Modified", False, "special_i1"),
    ],
)
def test_operator_layer_and_line_are_named(layer: str, several: bool, operator: str, artifacts: Path) -> None:
    with pytest.raises(ExportError) as caught:
        baseline(params_of(artifacts.parent, layer=layer, several=several), artifacts, silent)
    message = name_fields(str(caught.value), FIELDS)
    assert "\n" not in message
    assert f"no ONNX exporter takes Odd: operator aten::{operator} in middle.1, `" in message
    assert f"torch.special.{operator.removeprefix('special_')}(x)` (test_export_trial.py:" in message
    assert "choose other export.exporters" in message
    assert not (artifacts / "baseline/model.safetensors").exists()


def test_the_stage_ends_with_status_2_and_one_line(artifacts: Path) -> None:
    content = params_of(artifacts.parent, layer="Bessel").model_dump(mode="json", by_alias=True)
    (artifacts.parent / "params.yaml").write_text(yaml.safe_dump(content))
    path = os.pathsep.join([*sys.path, str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "tasks.baseline"], cwd=artifacts.parent, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.strip().startswith("baseline: no ONNX exporter takes Odd: operator aten::special_bessel_j0")
    assert "\n" not in done.stderr.strip()
    assert "graph(" not in done.stdout


def test_an_unusual_operator_that_onnx_has_is_trained(artifacts: Path) -> None:
    assert baseline(params_of(artifacts.parent, layer="Tanh"), artifacts, silent)["params"] > 0


def test_an_exporter_s_own_error_is_one_line(artifacts: Path, fussy: str) -> None:
    with pytest.raises(ExportError, match=r"exporter fussy does not take \w+ \(KeyError: .layer type 17"):
        baseline(params_of(artifacts.parent, exporters=(fussy,), layer="Tanh"), artifacts, silent)


@pytest.mark.parametrize(("macs", "tried"), [(LONG, 2), (LONG // 2, 0)])
def test_usual_networks_are_tried_where_training_is_long(
    macs: int, tried: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(Exporter, "try_on", lambda self, model, images: calls.append(self.kind))
    arguments = {"name": "resnet8", "num_classes": 10, "width": 4, "in_channels": 1}
    network = Network(models.build(**arguments), "models:build", arguments, (1, 8, 8))
    start = time.perf_counter()
    params = params_of(tmp_path, exporters=("onnx", "onnx_int8"))
    images = 10_000  # so many that both trainings have 15 epochs
    try_exporters(params, network, macs // (3 * images * (params.baseline.epochs + 15)) + tried // 2, images)
    assert len(calls) == tried
    assert time.perf_counter() - start < 2


def test_every_usual_operator_is_taken_by_both_exporters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One network that runs all of them in forms of its own choosing."""
    from eyas.deploy.exporters.onnx import NEWEST, USUAL
    from eyas.pruning.operators import operators_of

    class Everything(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2, bias=False), nn.BatchNorm2d(4)
            self.up, self.linear = nn.ConvTranspose2d(4, 4, 2, stride=2), nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = nn.functional.relu6(self.norm(self.conv(nn.functional.pad(x, (0, 1, 1, 0, 0, 0)))))
            x = torch.relu(nn.functional.max_pool2d(self.up(x), 3, 2, 1)) - torch.sigmoid(x[:, :, :1, :1]) / 2
            x = torch.cat([x, nn.functional.avg_pool2d(x, 3, 1, 1)], 1)
            x = (
                x.view(-1, 2, 4, *x.shape[2:])
                .transpose(1, 2)
                .clone(memory_format=torch.contiguous_format)
                .view(-1, 8, *x.shape[2:])
            )
            x = x.permute(0, 2, 3, 1).clone().detach().permute(0, 3, 1, 2) * x.mean((2, 3), keepdim=True)
            return self.linear(x.mean((2, 3)).unsqueeze(1).flatten(1)) + 1

    images, network = torch.rand(3, 2, 8, 8), Everything().eval()
    assert operators_of(network, images) | {"zeros"} == USUAL
    original = torch.onnx.export

    def tracing_only(*arguments: object, dynamo: bool, **options: object) -> object:
        if dynamo:
            raise torch.onnx.OnnxExporterError("not today")
        return original(*arguments, dynamo=dynamo, **options)

    for opset in (18, NEWEST):
        Onnx(opset=opset).try_on(network, images)
    monkeypatch.setattr(torch.onnx, "export", tracing_only)
    for opset in (18, NEWEST):
        Onnx(opset=opset).try_on(network, images)
