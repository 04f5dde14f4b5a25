"""Where an exported file leaves the network: the first layer whose output is another one, on one image."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from eyas.calibration.batchnorm import evaluation_mode
from eyas.deploy.exporters.onnx import Onnx
from eyas.deploy.named_outputs import flattened, output_names
from eyas.deploy.runtimes.onnx_runtime import inference_session
from eyas.pruning.tracing.call import module_of

UNKNOWN = "the layer is not known"


def first_divergence(model: nn.Module, path: Path, image_NCHW: Tensor, tolerance: float) -> str:
    """The first layer beyond ``tolerance``, in words; why it is not known where it is not.

    Every intermediate value of the ONNX graph is compared with that of PyTorch's in one run; for one image they fit.

    Args:
        model: the network that was exported.
        path: the file.
        image_NCHW: one image, ``(1, C, H, W)``.
        tolerance: largest difference of a value, as a share of its largest entry, that is no divergence.
    """
    if path.suffix != ".onnx":
        return f"{UNKNOWN}: files of the form {path.suffix} do not give out what their layers compute"
    try:
        graph = Onnx().graph(model, image_NCHW)
    except torch.onnx.OnnxExporterError:
        return f"{UNKNOWN}: the tracing exporter wrote the file, whose values have other names"
    computed, places = _values(model, graph, image_NCHW)
    exported = _exported(path, image_NCHW, computed)
    differences = {name: _difference(computed[name], exported[name]) for name in exported}
    if not differences:
        return f"{UNKNOWN}: no value of the file has the name of one of PyTorch's"
    first = next((name for name, difference in differences.items() if not difference <= tolerance), None)
    if first is None:
        name = max(differences, key=differences.__getitem__)
        return f"no layer is off by more than {tolerance:g}, the most is {differences[name]:.2g} at {places[name]}"
    return f"the first layer that differs is {places[first]}, by {differences[first]:.2g} of its largest value"


class _Recorder(fx.Interpreter):
    """Keeps what every node computes."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph, garbage_collect_values=False)
        self.values: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Compute a node, and keep it."""
        value = super().run_node(n)
        if n.op == "call_function" and isinstance(value, Tensor):
            self.values[n.name] = value
        return value


@torch.inference_mode()
def _values(model: nn.Module, graph: fx.GraphModule, image_NCHW: Tensor) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What each node computes, and which layer it belongs to, in order."""
    recorder = _Recorder(graph)
    with evaluation_mode(model):
        recorder.run(image_NCHW)
    last = [node.name for node in pytree.tree_leaves(graph.graph.output_node().args) if isinstance(node, fx.Node)]
    file_names = dict(zip(last, output_names(flattened(model, image_NCHW)), strict=True))
    values, places = {}, {}
    for node in (node for node in graph.graph.nodes if node.name in recorder.values):
        name = file_names.get(node.name, node.name)
        values[name], places[name] = recorder.values[node.name], module_of(node) or node.name
    return values, places


def _exported(path: Path, image_NCHW: Tensor, wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same values out of the file, as far as it has them; in 8 bits what is read of them."""
    import onnx
    from onnx import helper

    proto = onnx.load(str(path))
    made = {name for node in proto.graph.node for name in node.output}
    read = {name: f"{name}_DequantizeLinear_Output" for name in wanted}
    sources = {name: read[name] if read[name] in made else name for name in wanted}
    present = {name: source for name, source in sources.items() if source in made}
    outputs = {output.name for output in proto.graph.output}
    proto.graph.output.extend(
        helper.make_empty_tensor_value_info(name) for name in present.values() if name not in outputs
    )
    opened = inference_session(proto.SerializeToString())
    answers = opened.run(list(present.values()), {opened.get_inputs()[0].name: image_NCHW.numpy()})
    return {name: torch.as_tensor(np.asarray(answer)) for name, answer in zip(present, answers, strict=True)}


def _difference(expected: Tensor, actual: Tensor) -> float:
    """Largest difference as a share of the largest entry; infinite for other shapes."""
    if expected.shape != actual.shape:
        return float("inf")
    return float((expected.double() - actual.double()).abs().max() / expected.double().abs().max().clamp_min(1e-6))
