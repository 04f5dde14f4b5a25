"""OpenVINO's own form: a graph in XML and its weights beside it, for Intel's processors, NPUs and GPUs."""

import re
import tempfile
from pathlib import Path
from typing import Any, ClassVar, Literal
from xml.etree import ElementTree

from torch import Tensor, nn

from eyas.deploy.exporters.base import Exporter
from eyas.deploy.exporters.onnx import Onnx
from eyas.deploy.runtimes.openvino_runtime import OpenvinoRuntime
from eyas.errors import ExportError

_NUMBERED = re.compile(r"[A-Z]\w*_\d+")
"""What OpenVINO calls a layer that has no name, by a number that goes up in a process."""


class Openvino(Exporter):
    """OpenVINO in float32, converted from the ONNX file. The runtime computes in bfloat16 where it may: see there."""

    kind: Literal["openvino"] = "openvino"
    suffix: ClassVar[str] = ".xml"
    requires: ClassVar[tuple[str, ...]] = ("openvino", *Onnx.requires)
    extra: ClassVar[str] = "openvino"
    runtime: ClassVar[str] = "openvino"

    def __call__(self, model: nn.Module, example_NCHW: Tensor, path: Path) -> Path:
        """Write ``model`` to ``path`` and its weights beside it; only the shape of ``example_NCHW`` matters.

        Raises:
            MissingExtraError: openvino, or a package of the ONNX exporter, is not installed.
            ExportError: it cannot be written as ONNX, or OpenVINO lacks one of its operators.
        """
        self.check()
        return save(converted(model, example_NCHW), path)

    def surely_takes(self, operators: frozenset[str]) -> bool:
        """What float32 ONNX takes: OpenVINO knows the operators of usual classifiers."""
        return Onnx().surely_takes(operators)

    def files(self, path: Path) -> tuple[Path, ...]:
        """The graph and its weights."""
        return path, path.with_suffix(".bin")


def converted(model: nn.Module, example_NCHW: Tensor) -> Any:
    """OpenVINO's model of the network, by way of ONNX.

    Raises:
        ExportError: OpenVINO lacks an operator.
    """
    import openvino

    with tempfile.TemporaryDirectory() as scratch:
        single = Onnx()(model, example_NCHW, Path(scratch) / "model.onnx")
        try:
            return openvino.convert_model(single)
        except Exception as error:
            raise ExportError(OpenvinoRuntime().refusal(single, error)) from error


def save(converted_model: Any, path: Path) -> Path:
    """Write graph and weights in float32, without what tells of the machine, or counts what its process made before."""
    import openvino

    openvino.save_model(converted_model, path, compress_to_fp16=False)
    tree = ElementTree.parse(path)  # noqa: S314  our own file
    root = tree.getroot()
    for information in root.findall("rt_info"):
        root.remove(information)
    for layer in root.iter("layer"):
        if _NUMBERED.fullmatch(layer.attrib["name"]):
            layer.attrib["name"] = f"{layer.attrib['type']}_{layer.attrib['id']}"
    tree.write(path, encoding="utf-8", xml_declaration=True)
    return path
