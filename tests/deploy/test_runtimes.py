"""What every runtime promises: it opens what it takes, runs any number of images, and says what it lacks."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from eyas.deploy.exporters import Exporter
from eyas.deploy.runtimes import Runtime, Session
from eyas.errors import DataError, ExportError, MissingExtraError

KINDS = sorted(Runtime.registry)
EXPORTERS = {member.runtime: kind for kind, member in reversed(Exporter.members().items())}


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)).eval()


@pytest.fixture(scope="module", params=KINDS)
def opened(request: pytest.FixtureRequest, network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Session:
    runtime = Runtime.parse(request.param)
    if not runtime.installed():
        pytest.skip(f"{runtime.package} is not installed")
    kinds = [base.model_fields["kind"].default for base in type(runtime).__mro__ if issubclass(base, Runtime)]
    exporter = Exporter.parse(next(EXPORTERS[kind] for kind in kinds if kind in EXPORTERS))
    path = tmp_path_factory.mktemp("runtime") / f"model{exporter.suffix}"
    exporter(network, torch.randn(8, 1, 8, 8), path)
    assert type(Runtime.of(path)) in type(runtime).__mro__
    assert runtime.version().split()[0] == runtime.package
    assert runtime.version().split()[1][0].isdigit()
    return runtime.open(path, threads=2)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_number_of_images_is_answered(opened: Session, network: nn.Module, count: int) -> None:
    images = torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(count))
    assert opened.input_shape[1:] == (1, 8, 8)
    assert opened.input_dtype == np.float32
    with torch.inference_mode():
        torch.testing.assert_close(opened.logits(images, batch_size=2), network(images), rtol=1e-4, atol=1e-5)


def test_an_answer_stays_when_the_next_image_is_run(opened: Session) -> None:
    image = np.ones((opened.input_shape[0] or 1, 1, 8, 8), dtype=np.float32)
    (first,) = opened.run(image)
    kept = first.copy()
    opened.run(-image)
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("kind", KINDS)
def test_a_runtime_that_is_not_installed_says_how_to_install_it(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = Runtime.parse(kind)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    for use in (runtime.version, lambda: runtime.open(tmp_path / "model")):
        with pytest.raises(MissingExtraError, match=rf"{runtime.package} is not installed: pip install 'eyas\["):
            use()


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_damaged_or_missing_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    runtime = Runtime.parse(kind)
    if not runtime.installed():
        pytest.skip(f"{runtime.package} is not installed")
    path = tmp_path / f"model{runtime.suffixes[0]}"
    with pytest.raises(DataError, match="there is no such file"):
        runtime.open(path)
    path.write_bytes(b"no model")
    with pytest.raises(ExportError, match=rf"^{runtime.package} [\w.+]+ .*{path.name}") as caught:
        runtime.open(path)
    assert "\n" not in str(caught.value)


def test_a_suffix_of_no_runtime_names_those_there_are() -> None:
    with pytest.raises(DataError, match=r"model\.tflite: no runtime .*\.pte.*\.onnx.*\.xml.*\.pt2"):
        Runtime.of(Path("model.tflite"))


def write_onnx(path: Path, node: onnx.NodeProto, kind: int, domain: str = "") -> Path:
    """A file of one node, from ``x`` to ``y``, with a weight."""
    image, answer = (helper.make_tensor_value_info(name, kind, ["n", 1, 4, 4]) for name in ("x", "y"))
    weight = helper.make_tensor("layer1.conv.weight", kind, [1, 1, 1, 1], [1.0])
    opsets = [helper.make_opsetid("", 20), *([helper.make_opsetid(domain, 1)] if domain else [])]
    graph = helper.make_graph([node], "g", [image], [answer], [weight])
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


@pytest.mark.parametrize(
    ("operator", "domain", "kind", "named"),
    [
        ("Conv", "", TensorProto.DOUBLE, "Conv in layer1.conv"),  # its CPU provider convolves single precision alone
        ("Own", "my.domain", TensorProto.FLOAT, "my.domain:Own in layer1.conv"),
        ("Own", "", TensorProto.FLOAT, "Own in layer1.conv"),
    ],
)
def test_an_operator_that_onnx_runtime_lacks_is_named_with_its_layer(
    operator: str, domain: str, kind: int, named: str, tmp_path: Path
) -> None:
    node = helper.make_node(operator, ["x", "layer1.conv.weight"], ["y"], name="node_7", domain=domain)
    path = write_onnx(tmp_path / "model.onnx", node, kind, domain)
    with pytest.raises(ExportError, match=rf"onnxruntime \S+ lacks operator {named} of model\.onnx: compute it by"):
        Runtime.parse("onnx").open(path)


PROGRAM_WITH_OWN_OPERATOR = """
import sys, torch
@torch.library.custom_op("mylib::own", mutates_args=())
def own(x: torch.Tensor) -> torch.Tensor:
    return x.clone()
own.register_fake(torch.empty_like)
class Layer(torch.nn.Module):
    def forward(self, x):
        return torch.ops.mylib.own(x)
network = torch.nn.Sequential(torch.nn.ReLU(), Layer())
torch.export.save(torch.export.export(network, (torch.zeros(2, 3),)), sys.argv[1])
"""


def test_an_operator_that_pytorch_does_not_know_is_named_with_its_layer(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    subprocess.run([sys.executable, "-c", PROGRAM_WITH_OWN_OPERATOR, str(path)], check=True, capture_output=True)
    with pytest.raises(ExportError, match=r"torch \S+ lacks operator mylib\.own\.default in 1 of model\.pt2"):
        Runtime.parse("pt2").open(path)


def test_an_operator_that_openvino_lacks_is_named_with_its_layer(tmp_path: Path, network: nn.Module) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")
    path = Exporter.parse("openvino")(network, torch.randn(2, 1, 8, 8), tmp_path / "model.xml")
    path.write_text(path.read_text().replace('type="ReLU"', 'type="Own"'))
    with pytest.raises(ExportError, match=r"openvino \S+ lacks operator Own in \S*relu\S* of model\.xml"):
        Runtime.parse("openvino").open(path)
