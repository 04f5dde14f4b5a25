"""Preprocessing and softmax as ONNX operators around an exported network: pixels of any size in, probabilities out.

N images, H height, W width, C channels, K classes. Every operator is a standard one; ``Resize`` on unsigned bytes with
``antialias`` (opset 18) and ``exclude_outside`` weighs pixels as Pillow's bilinear filter does: with ONNX Runtime at
most 1 of 255 apart, in photographs in 0 to 2 of 1,000 values.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eyas.deploy.bundle.preprocessing import PreprocessingRecord
from eyas.deploy.exporters.onnx import strip
from eyas.deploy.onnx_runtime import LOGITS
from eyas.errors import MissingExtraError

IMAGES, PROBABILITIES = "images", "probabilities"


def write_end_to_end(network: Path, record: PreprocessingRecord, path: Path) -> Path:
    """Write the network with its preprocessing: ``images`` uint8 ``(N, H, W, C)`` to ``probabilities`` ``(N, K)``.

    Args:
        network: an ONNX file of the judged output ``logits`` ``(N, K)`` from normalised images; other outputs go.
        record: the preprocessing that it expects.
        path: of the file to write.

    Raises:
        MissingExtraError: onnx is not installed.
    """
    try:
        import onnx
        from onnx import compose
    except ImportError as error:
        msg = f"{error.name} is not installed: pip install 'eyas[pipeline]'"
        raise MissingExtraError(msg) from error
    inner = onnx.load(str(network))
    pixels = inner.graph.input[0].name
    inner = compose.add_prefix(inner, "network/", rename_functions=False)
    before, after = preprocessing_graph(record, inner), _softmax(inner)
    joined = compose.merge_models(before, inner, io_map=[("normalised", f"network/{pixels}")])
    joined = compose.merge_models(
        joined, after, io_map=[(f"network/{LOGITS}", LOGITS)], outputs=[PROBABILITIES], doc_string=""
    )
    joined.producer_name = inner.producer_name
    joined.graph.name = "end_to_end"
    strip(joined)
    path.write_bytes(joined.SerializeToString(deterministic=True))
    return path


def preprocessing_graph(record: PreprocessingRecord, network: Any) -> Any:
    """Resize, centre crop and normalisation as a network of its own, in the operator set of ``network``."""
    from onnx import TensorProto, helper

    node, number, channels = helper.make_node, helper.make_tensor, len(record.mean)
    nodes = [
        node("Transpose", [IMAGES], ["channels_first"], perm=[0, 3, 1, 2]),
        node("Shape", ["channels_first"], ["outer"], end=2),
        node("Shape", ["channels_first"], ["edges"], start=2),
        *(_resize_directly() if record.resize is None else _resize_and_crop()),
        node("Cast", ["cropped"], ["float"], to=TensorProto.FLOAT),
        node("Div", ["float", "white"], ["share"]),
        node("Sub", ["share", "mean"], ["centred"]),
        node("Div", ["centred", "std"], ["normalised"]),
    ]
    constants = [
        number("white", TensorProto.FLOAT, [], [255.0]),
        number("mean", TensorProto.FLOAT, [1, channels, 1, 1], record.mean),
        number("std", TensorProto.FLOAT, [1, channels, 1, 1], record.std),
        number("edge", TensorProto.INT64, [1], [record.size]),
        number("resize", TensorProto.INT64, [1], [record.resize or 0]),
        number("half", TensorProto.FLOAT, [], [0.5]),
        number("height_width", TensorProto.INT64, [2], [2, 3]),
    ]
    taken = helper.make_tensor_value_info(IMAGES, TensorProto.UINT8, ["batch", "height", "width", channels])
    shape = ["batch", channels, record.size, record.size]
    made = helper.make_tensor_value_info("normalised", TensorProto.FLOAT, shape)
    read = {edge for each in nodes for edge in each.input}
    constants = [constant for constant in constants if constant.name in read]
    return _beside(network, helper.make_graph(nodes, "preprocessing", [taken], [made], constants))


def _resize(source: str, target: str, result: str) -> Any:
    from onnx import helper

    how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel", "antialias": 1, "exclude_outside": 1}
    return helper.make_node("Resize", [source, "", "", target], [result], **how)


def _resize_directly() -> Iterator[Any]:
    """Nodes from ``channels_first`` to ``cropped``: to ``size`` in both directions.

    Pillow (13) starts with the width, but with the height where that shrinks and the width grows; it rounds in between.
    """
    from onnx import helper

    node = helper.make_node
    yield node("Split", ["edges"], ["height", "width"], num_outputs=2)
    yield node("Greater", ["height", "edge"], ["height_shrinks"])
    yield node("Less", ["width", "edge"], ["width_grows"])
    yield node("And", ["height_shrinks", "width_grows"], ["height_first"])
    yield node("Where", ["height_first", "edge", "height"], ["first_height"])
    yield node("Where", ["height_first", "width", "edge"], ["first_width"])
    yield node("Concat", ["outer", "first_height", "first_width"], ["first"], axis=0)
    yield node("Concat", ["outer", "edge", "edge"], ["second"], axis=0)
    yield _resize("channels_first", "first", "halfway")
    yield _resize("halfway", "second", "cropped")


def _resize_and_crop() -> Iterator[Any]:
    """Nodes from ``channels_first`` to ``cropped``: shorter edge to ``resize``, then the centre.

    Each edge times ``resize`` over the shorter one, rounded down; half of what is too much, rounded to even as Python
    does.
    """
    from onnx import TensorProto, helper

    node = helper.make_node
    yield node("ReduceMin", ["edges"], ["shorter"], keepdims=1)
    yield node("Mul", ["edges", "resize"], ["enlarged"])
    yield node("Div", ["enlarged", "shorter"], ["scaled"])
    yield node("Concat", ["outer", "scaled"], ["target"], axis=0)
    yield _resize("channels_first", "target", "resized")
    yield node("Sub", ["scaled", "edge"], ["excess"])
    yield node("Cast", ["excess"], ["excess_float"], to=TensorProto.FLOAT)
    yield node("Mul", ["excess_float", "half"], ["half_excess"])
    yield node("Round", ["half_excess"], ["rounded"])
    yield node("Cast", ["rounded"], ["start"], to=TensorProto.INT64)
    yield node("Add", ["start", "edge"], ["end"])
    yield node("Slice", ["resized", "start", "end", "height_width"], ["cropped"])


def _softmax(network: Any) -> Any:
    """Softmax as a network of its own; the shapes are those of ``network``'s logits."""
    from onnx import TensorProto, helper

    logits = next(output for output in network.graph.output if output.name == f"network/{LOGITS}")
    shape = [size.dim_param or size.dim_value for size in logits.type.tensor_type.shape.dim]
    named = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in (LOGITS, PROBABILITIES)]
    node = helper.make_node("Softmax", [LOGITS], [PROBABILITIES], axis=1)
    return _beside(network, helper.make_graph([node], "softmax", named[:1], named[1:]))


def _beside(network: Any, graph: Any) -> Any:
    """A graph as a network that can be joined with the other one: of the same operator set."""
    from onnx import helper

    return helper.make_model(graph, opset_imports=network.opset_import, ir_version=network.ir_version)
