"""The network once more, so that a device can give it other batch-norm statistics, and collect them.

``adaptable.onnx`` keeps batch-norm as nodes whose statistics are external initialisers, ``<layer>.mean`` and
``<layer>.var``: a session may be opened with others (``SessionOptions.add_external_initializers``), and ONNX Runtime
folds them into the convolutions as it loads, so that it runs as fast as ``model.onnx``. Statistics as inputs of the
graph are never folded. ``collect.onnx`` normalises each batch by its own statistics and gives them out. Both read their
weights from ``adaptable.data``.
"""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from eyas.calibration.batchnorm import batch_norms
from eyas.deploy.exporters.onnx import Onnx
from eyas.deploy.named_outputs import NamedOutputs
from eyas.errors import ExportError

ADAPTABLE, COLLECTING, WEIGHTS = "adaptable.onnx", "collect.onnx", "adaptable.data"
_MEAN, _VARIANCE = ".running_mean", ".running_var"


def write_adaptable(network: nn.Module, example_NCHW: Tensor, exporter: Onnx, folder: Path) -> tuple[str, ...]:
    """Write the three files; returns the names of the batch-norm layers in order of execution.

    Args:
        network: what :func:`eyas.deploy.named_outputs.flattened` gave.
        example_NCHW: only its shape matters.
        exporter: says the operator set.
        folder: where the files go.

    Raises:
        ExportError: the network has no batch-norm, uses a layer twice, or is not taken.
    """
    proto = exporter.unfolded(network, example_NCHW)
    layers = _name_statistics(proto, "network." if isinstance(network, NamedOutputs) else "")
    inner = network.network if isinstance(network, NamedOutputs) else network
    kept = set(batch_norms(inner))
    idle = [name for name, module in inner.named_modules() if module in kept and name not in layers]
    if idle:
        msg = f"batch-norm {idle[0]!r} never runs: leave `adaptable` out"
        raise ExportError(msg)
    _move_weights(proto, folder / WEIGHTS)
    (folder / ADAPTABLE).write_bytes(proto.SerializeToString(deterministic=True))
    _give_statistics(proto)
    (folder / COLLECTING).write_bytes(proto.SerializeToString(deterministic=True))
    return layers


def _nodes(proto: Any) -> list[Any]:
    return [node for node in proto.graph.node if node.op_type == "BatchNormalization"]


def _name_statistics(proto: Any, prefix: str) -> tuple[str, ...]:
    """Call the statistics as ``bn_statistics.safetensors`` does."""
    initialisers = {tensor.name: tensor for tensor in proto.graph.initializer}
    layers = []
    for node in _nodes(proto):
        layer = node.input[3].removesuffix(_MEAN).removeprefix(prefix)
        if layer in layers or not {prefix + layer + _MEAN, prefix + layer + _VARIANCE} <= initialisers.keys():
            msg = f"batch-norm {layer!r} runs twice or has no statistics of its own: leave `adaptable` out"
            raise ExportError(msg)
        for position, part, short in ((3, _MEAN, ".mean"), (4, _VARIANCE, ".var")):
            initialisers[prefix + layer + part].name = node.input[position] = layer + short
        layers.append(layer)
    if not layers:
        msg = "the network has no batch-norm: there is nothing that a device could adapt; leave `adaptable` out"
        raise ExportError(msg)
    return tuple(layers)


def _move_weights(proto: Any, path: Path) -> None:
    """Bring all floats of the graph into a file beside it, in their order."""
    from onnx import TensorProto, numpy_helper
    from onnx.external_data_helper import set_external_data

    with path.open("wb") as file:
        for tensor in proto.graph.initializer:
            if tensor.data_type == TensorProto.FLOAT:
                tensor.raw_data = content = numpy_helper.to_array(tensor).tobytes()
                set_external_data(tensor, path.name, file.tell(), len(content))
                for inline in ("raw_data", "float_data"):
                    tensor.ClearField(inline)
                file.write(content)


def _give_statistics(proto: Any) -> None:
    """Normalise by the statistics of the batch, and give them out as ``<layer>.mean`` and ``<layer>.var`` (biased)."""
    from onnx import TensorProto, helper

    for node in _nodes(proto):
        outputs = [f"batch/{node.input[position]}" for position in (3, 4)]
        kept = [attribute for attribute in node.attribute if attribute.name == "epsilon"]
        # With momentum 0 the new running statistics are those of the batch.
        changed = [helper.make_attribute("training_mode", 1), helper.make_attribute("momentum", 0.0)]
        del node.attribute[:]
        node.attribute.extend([*kept, *changed])
        del node.output[1:]
        node.output.extend(outputs)
        for name in outputs:
            proto.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
