"""One layer as an ONNX model of a few hundred bytes: constants stand for its weights, whose values change no time."""

from typing import Any

from eyas.deploy.latency.priced_layers import LayerShape
from eyas.errors import MissingExtraError

OPSET, IR_VERSION = 17, 8
"""Old enough for the runtimes of the last years."""


def layer_onnx(shape: LayerShape, inputs: int, outputs: int) -> bytes:
    """The layer at these widths with a bias and, behind a convolution, a ReLU; the batch size is free.

    Args:
        shape: the layer without its widths.
        inputs: channels in; of one group where it has groups.
        outputs: channels out; channels in of a transposed convolution that has groups.

    Raises:
        MissingExtraError: onnx is not installed.
    """
    try:
        from onnx import TensorProto, helper
    except ImportError as error:
        msg = "onnx is not installed: pip install 'eyas[pipeline]'"
        raise MissingExtraError(msg) from error
    rows = not shape.kernel and shape.size != (1,)
    transposed, groups = shape.kind.startswith("conv_transpose"), 1
    weight = (inputs, outputs, *shape.kernel) if transposed or rows else (outputs, inputs, *shape.kernel)
    entering, leaving = inputs, outputs
    if shape.per_group:
        groups, weight = outputs // shape.per_group[0], (outputs, inputs, *shape.kernel)
        entering, leaving = (outputs, inputs * groups) if transposed else (inputs * groups, outputs)
    size: list[Any] = [entering, *shape.size] if shape.kernel else [*(shape.size if rows else ()), entering]
    names = ["images", "weight", "bias"]
    if shape.kernel:
        window: dict[str, Any] = {"kernel_shape": shape.kernel, "strides": shape.stride, "dilations": shape.dilation}
        window |= {"pads": shape.pads, "group": groups} | ({"output_padding": shape.output_pads} if transposed else {})
        kind = "ConvTranspose" if transposed else "Conv"
        layer = [helper.make_node(kind, names, ["sums"], **window), helper.make_node("Relu", ["sums"], ["outputs"])]
    elif rows:
        product = helper.make_node("MatMul", names[:2], ["sums"])
        layer = [product, helper.make_node("Add", ["sums", "bias"], ["outputs"])]
    else:
        layer = [helper.make_node("Gemm", names, ["outputs"], transB=1)]
    nodes = [*_filled("weight", weight), *_filled("bias", (leaving,)), *layer]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", *size])
    results = helper.make_tensor_value_info("outputs", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "layer", [images], [results])
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="eyas")
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _filled(name: str, shape: tuple[int, ...]) -> list[Any]:
    """A tensor of one value, which a runtime fills when it loads the model."""
    from onnx import TensorProto, helper

    sizes = helper.make_tensor("sizes", TensorProto.INT64, [len(shape)], shape)
    value = helper.make_tensor("value", TensorProto.FLOAT, [1], [0.01])
    return [
        helper.make_node("Constant", [], [f"{name}_shape"], value=sizes),
        helper.make_node("ConstantOfShape", [f"{name}_shape"], [name], value=value),
    ]
