"""Preprocessing and softmax as ONNX operators around an exported network: pixels of any size in, probabilities out.

N images, H height, W width, C channels, K classes. Every operator is a standard one; ``Resize`` on unsigned bytes with
``antialias`` (opset 18) and ``exclude_outside`` weighs pixels as Pillow's bilinear filter does: with ONNX Runtime at
most 1 of 255 apart, in photographs in 0 to 2 of 1,000 values.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eyas.deploy.bundle.preprocessing import PreprocessingRecord
from eyas.deploy.onnx_writing import strip
from eyas.deploy.runtimes import LOGITS
from eyas.errors import MissingExtraError

IMAGES, PROBABILITIES = "images", "probabilities"


def write_end_to_end(network: Path, record: PreprocessingRecord, path: Path) -> Path:
    """Write the network with its preprocessing: ``images`` uint8 ``(N, H, W, C)`` to ``probabilities``.

    Args:
        network: an ONNX file of the judged output ``logits``, ``(N, K)`` or per pixel ``(N, K, size, size)``, from
            normalised images; other outputs go.
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
    direct = record.resize is None
    nodes = [
        node("Transpose", [IMAGES], ["channels_first"], perm=[0, 3, 1, 2]),
        node("Shape", ["channels_first"], ["outer"], end=2),
        node("Shape", ["channels_first"], ["edges"], start=2),
        *([] if direct else _scale()),
        *_resize(),
        *([] if direct else _crop()),
        node("Cast", ["resized" if direct else "cropped"], ["float"], to=TensorProto.FLOAT),
        node("Div", ["float", "white"], ["share"]),
        node("Sub", ["share", "mean"], ["centred"]),
        node("Div", ["centred", "std"], ["normalised"]),
    ]
    constants = [
        number("white", TensorProto.FLOAT, [], [255.0]),
        number("mean", TensorProto.FLOAT, [1, channels, 1, 1], record.mean),
        number("std", TensorProto.FLOAT, [1, channels, 1, 1], record.std),
        number("scaled" if direct else "size", TensorProto.INT64, [2], [record.size] * 2),
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


def _resize() -> Iterator[Any]:
    """Nodes from ``channels_first`` to ``resized``, of height and width ``scaled``; one direction after the other.

    Pillow rounds in between, and starts with the width; its version 13 with the height where that shrinks, and by more
    than twice what the width does (fitted to its answers).
    """
    from onnx import helper

    node = helper.make_node
    how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel", "antialias": 1, "exclude_outside": 1}
    yield node("Split", ["edges"], ["height", "width"], num_outputs=2)
    yield node("Split", ["scaled"], ["new_height", "new_width"], num_outputs=2)
    yield node("Sub", ["height", "new_height"], ["less_height"])
    yield node("Sub", ["width", "new_width"], ["less_width"])
    yield node("Add", ["less_width", "less_width"], ["twice_less_width"])
    yield node("Greater", ["less_height", "twice_less_width"], ["by_more"])
    yield node("Greater", ["height", "new_height"], ["shrinks"])
    yield node("And", ["by_more", "shrinks"], ["height_first"])
    yield node("Where", ["height_first", "new_height", "height"], ["first_height"])
    yield node("Where", ["height_first", "width", "new_width"], ["first_width"])
    yield node("Concat", ["outer", "first_height", "first_width"], ["first"], axis=0)
    yield node("Concat", ["outer", "scaled"], ["second"], axis=0)
    yield node("Resize", ["channels_first", "", "", "first"], ["halfway"], **how)
    yield node("Resize", ["halfway", "", "", "second"], ["resized"], **how)


def _scale() -> Iterator[Any]:
    """Nodes to ``scaled``: each edge times ``resize`` over the shorter one, rounded down."""
    from onnx import helper

    yield helper.make_node("ReduceMin", ["edges"], ["shorter"], keepdims=1)
    yield helper.make_node("Mul", ["edges", "resize"], ["enlarged"])
    yield helper.make_node("Div", ["enlarged", "shorter"], ["scaled"])


def _crop() -> Iterator[Any]:
    """Nodes from ``resized`` to ``cropped``, its centre: half of what is too much, rounded to even as Python does."""
    from onnx import TensorProto, helper

    node = helper.make_node
    yield node("Sub", ["scaled", "size"], ["excess"])
    yield node("Cast", ["excess"], ["excess_float"], to=TensorProto.FLOAT)
    yield node("Mul", ["excess_float", "half"], ["half_excess"])
    yield node("Round", ["half_excess"], ["rounded"])
    yield node("Cast", ["rounded"], ["start"], to=TensorProto.INT64)
    yield node("Add", ["start", "size"], ["end"])
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
