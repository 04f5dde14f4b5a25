"""ONNX Runtime."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from eyas.deploy.runtimes.base import Array, Runtime, Session

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


class OnnxRuntime(Runtime):
    """ONNX Runtime's CPU provider; a file in 8 bits is run in 8 bits where its operators have such a form."""

    kind: Literal["onnx"] = "onnx"
    suffixes: ClassVar[tuple[str, ...]] = (".onnx",)
    package: ClassVar[str] = "onnxruntime"
    missing_operator: ClassVar[tuple[str, ...]] = (
        r"Could not find an implementation for (?P<operator>\w+)\(\d+\) node with name '(?P<node>[^']*)'",
        r"(?P<operator>[\w.:]+)\(-?\d+\) is not a registered function/op",
        r'In Node, \("(?P<node>[^"]*)", (?P<operator>\w+),.* No Op registered for',
    )

    def _session(self, path: Path, threads: int) -> Session:
        return OnnxSession(inference_session(path, threads))

    def _layer(self, path: Path, operator: str, node: str | None) -> str | None:
        """The layer whose weights the node reads, or what the node itself is called."""
        import onnx

        graph = onnx.load(str(path), load_external_data=False).graph
        plain = operator.rpartition(":")[2]
        nodes = [one for one in graph.node if one.name == node or (not node and one.op_type == plain)]
        return layer_of(nodes[0], {tensor.name for tensor in graph.initializer}) if nodes else node


def layer_of(node: Any, weights: Collection[str]) -> str:
    """The path of the module whose weights an ONNX node reads; without any, the node's own name."""
    names = [name for name in node.input if name in weights and "." in name]
    return str(names[0].rpartition(".")[0] if names else node.name or node.output[0])


class OnnxSession(Session):
    """An ONNX file in ONNX Runtime."""

    def __init__(self, opened: "InferenceSession") -> None:
        self._opened = opened
        (image,) = opened.get_inputs()
        self._image = image.name
        self.input_shape = tuple(size if isinstance(size, int) else None for size in image.shape)
        self.input_dtype = np.dtype({"float": "float32", "double": "float64"}.get(name := image.type[7:-1], name))
        self.output_names = tuple(output.name for output in opened.get_outputs())

    def run(self, images: Array) -> list[Array]:
        """All outputs for one batch."""
        answers: list[Array] = self._opened.run(None, {self._image: images})
        return answers


def inference_session(model: Path | bytes, threads: int = 1) -> "InferenceSession":
    """ONNX Runtime's own session on the CPU, opened as everywhere here, with ``threads`` intra-op threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    content = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
