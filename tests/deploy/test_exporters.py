"""What every exporter promises: its file reloads, takes any batch, and agrees within its own limits."""

import getpass
import importlib.util
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

from eyas.deploy.exporters import Exporter
from eyas.deploy.logit_parity import compare_logits
from eyas.errors import ExportError, MissingExtraError
from eyas.storage.disk_space import describe_full_disk

KINDS = sorted(Exporter.registry)


class Network(nn.Module):
    """Residual, with batch-norm whose statistics are no identity, and dropout that must stay off."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(x + self.conv(x))
        return self.fc(self.dropout(x.mean((2, 3))))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    model = Network()
    with torch.no_grad():
        for _ in range(20):
            model(torch.randn(32, 1, 8, 8) * 2 + 1)
    return model.train()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(65, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 + 1


@pytest.fixture(scope="module", params=KINDS)
def exported(
    request: pytest.FixtureRequest, network: nn.Module, images: Tensor, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Exporter, Path]:
    exporter = Exporter.parse(request.param)
    missing = [package for package in exporter.requires if importlib.util.find_spec(package) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed")
    path = tmp_path_factory.mktemp("export") / f"model{exporter.suffix}"
    flags = [module.training for module in network.modules()]
    assert exporter(network, images[:32], path) == path
    assert [module.training for module in network.modules()] == flags
    return exporter, path


def readable(file: Path) -> bytes:
    """A file's content; of an archive also what it holds."""
    content = file.read_bytes()
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            content += b"".join(map(archive.read, archive.namelist()))
    return content


@pytest.mark.parametrize("count", [1, 2, 65])
def test_file_agrees_within_its_limits_at_any_batch(
    exported: tuple[Exporter, Path], network: nn.Module, images: Tensor, count: int
) -> None:
    exporter, path = exported
    with torch.inference_mode():
        flags = {module: module.training for module in network.modules()}
        expected = network.eval()(images[:count])
        for module, training in flags.items():
            module.training = training
    parity = compare_logits(expected, exporter.run(path, images[:count]))
    limit, share = exporter.limits(1e-4, 0.95)
    parity.require(path.name, max_difference=limit, min_agreement=share)


def test_file_says_nothing_of_where_it_was_made(exported: tuple[Exporter, Path]) -> None:
    exporter, path = exported
    root, user = str(Path(__file__).parents[2]), getpass.getuser()
    for file in exporter.files(path):
        content = readable(file)
        for trace in (root, tempfile.gettempdir() + "/", f"/{user}/", "site-packages", "Traceback", "forward("):
            assert trace.encode() not in content
        assert re.search(rb"[\w/]\.py\b", content) is None
    assert {other.name for other in path.parent.iterdir()} == {file.name for file in exporter.files(path)}


def test_equal_weights_give_equal_bytes(exported: tuple[Exporter, Path], network: nn.Module, images: Tensor) -> None:
    exporter, path = exported
    again = exporter(network, images[:32], path.with_name(f"again{exporter.suffix}"))
    content = [file.read_bytes() for file in exporter.files(again)]
    for file in exporter.files(again):
        file.unlink()
    assert content == [file.read_bytes() for file in exporter.files(path)]


def test_onnx_bytes_do_not_depend_on_the_process(tmp_path: Path) -> None:
    code = (
        "import sys, torch; from torch import nn; from pathlib import Path\n"
        "from eyas.deploy.exporters import Exporter\n"
        "torch.manual_seed(0); m = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten())\n"
        "Exporter.parse('onnx')(m, torch.zeros(1, 1, 8, 8), Path(sys.argv[1]))\n"
    )
    for seed in ("1", "2"):
        command = [sys.executable, "-c", code, str(tmp_path / f"{seed}.onnx")]
        done = subprocess.run(command, env={"PYTHONHASHSEED": seed}, check=True, capture_output=True, text=True)
        assert done.stdout == ""
    assert (tmp_path / "1.onnx").read_bytes() == (tmp_path / "2.onnx").read_bytes()


def test_batch_is_free_and_opset_as_asked(network: nn.Module, images: Tensor, tmp_path: Path) -> None:
    exporter = Exporter.parse({"kind": "onnx", "opset": 18})
    proto = onnx.load(exporter(network, images, tmp_path / "model.onnx"))
    (image,) = proto.graph.input
    assert image.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert [dim.dim_value for dim in image.type.tensor_type.shape.dim[1:]] == [1, 8, 8]
    assert [entry.version for entry in proto.opset_import if not entry.domain] == [18]


def test_tracing_exporter_steps_in(
    network: nn.Module,
    images: Tensor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    original = torch.onnx.export

    def fail(*arguments: object, dynamo: bool, **options: object) -> object:
        if dynamo:
            raise torch.onnx.OnnxExporterError("operator not known\nlong story")
        return original(*arguments, dynamo=dynamo, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.onnx, "export", fail)
    exporter = Exporter.parse("onnx")
    path = exporter(network, images, tmp_path / "model.onnx")
    assert "operator not known); using the tracing one" in caplog.text
    with torch.inference_mode():
        expected = network.eval()(images)
    network.train()
    torch.testing.assert_close(exporter.run(path, images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("opset", [18, 20, 21, 23])
def test_the_tracing_exporter_writes_the_opset_that_is_asked_for(
    opset: int, network: nn.Module, images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = torch.onnx.export

    def fail(*arguments: object, dynamo: bool, **options: object) -> object:
        if dynamo:
            raise torch.onnx.OnnxExporterError("operator not known")
        return original(*arguments, dynamo=dynamo, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.onnx, "export", fail)
    exporter = Exporter.parse({"kind": "onnx", "opset": opset})
    path = exporter(network, images, tmp_path / "model.onnx")
    assert [entry.version for entry in onnx.load(path).opset_import if not entry.domain] == [opset]
    with torch.inference_mode():
        expected = network.eval()(images)
    network.train()
    torch.testing.assert_close(exporter.run(path, images), expected, rtol=1e-4, atol=1e-5)


def test_an_opset_that_neither_exporter_writes_is_refused(network: nn.Module, images: Tensor, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"opset 99"):
        Exporter.parse({"kind": "onnx", "opset": 99})(network, images, tmp_path / "model.onnx")


@pytest.mark.parametrize("kind", ["onnx", "onnx_int8", "pt2"])
def test_a_full_disk_is_told_in_one_line(kind: str, network: nn.Module, images: Tensor) -> None:
    with pytest.raises(OSError, match="No space left on device") as caught:
        Exporter.parse(kind)(network, images[:8], Path("/dev/full"))
    line = describe_full_disk(caught.value)
    assert line is not None
    assert re.fullmatch(r"/\S+: no space left on device, [\d.]+ MB are free there: make room and repeat this", line)


def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    for kind in KINDS:
        exporter = Exporter.parse(kind)
        if exporter.requires:
            named = rf"{exporter.requires[0]}.* not installed: pip install 'eyas\["
            with pytest.raises(MissingExtraError, match=named):
                exporter.check()
