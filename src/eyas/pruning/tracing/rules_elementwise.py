"""Elementwise operators of any arity, with broadcasting."""

import numpy as np

from eyas.pruning.tracing.call import Call
from eyas.pruning.tracing.rule_registry import UnsupportedForm, rule
from eyas.pruning.tracing.union_find import Ids
from eyas.pruning.tracing.values import Value, aligned, aligned_shape


@rule(
    "add", "sub", "mul", "div", "subtract", "multiply", "divide", "true_divide", "floor_divide", "negative", "absolute",
    "leaky_relu", "relu6", "elu", "selu", "celu", "silu", "gelu", "mish", "hardswish", "hardsigmoid", "hardtanh",
    "log_sigmoid", "softplus", "threshold", "rrelu", "special_expit", "logit", "nan_to_num", "square",
    "dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout", "native_dropout", "bernoulli",
    "contiguous", "clone", "copy", "detach", "alias", "lift_fresh_copy", "expand_as",
    "zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like", "fill", "zero",
    "masked_fill", "where", "clamp", "greater", "less", "greater_equal", "less_equal", "not_equal", "isclose",
)  # fmt: skip
def elementwise(call: Call) -> Value:
    """Operands of one shape: their channels are tied index by index."""
    return combine(call, call.values(), call.shape)


@rule("to", "_to_copy", "type_as")
def cast(call: Call) -> Value:
    """Another type, device or layout of the same entries; a second tensor only says which."""
    x, entry = call.first, call.node.meta["val"]
    return Value(x.shape, x.labels, int(entry.element_size()))


@rule("_assert_tensor_metadata", "_assert_async", "_functional_assert_async")
def asserted(call: Call) -> None:
    """Computes nothing: ``torch.export`` writes one beside each cast."""


def combine(call: Call, values: list[Value], shape: tuple[int, ...]) -> Value:
    """Tie the labels of broadcast operands; a channel that meets a fixed size freezes."""
    merged: dict[int, Ids] = {}
    for value in values:
        for dim, ids in aligned(value, len(shape)).items():
            for other in values:
                size = 1 if other is value else aligned_shape(other, len(shape))[dim]
                if size not in (1, len(ids)):
                    msg = f"on tensors of {len(ids)} and {size} entries along one dimension"
                    raise UnsupportedForm(msg)
                if size > 1:
                    call.unite(ids, other.at(dim - len(shape) + other.ndim))
            call.trace.combine([aligned(other, len(shape)).get(dim, ids[:0]) for other in values])
            merged[dim] = np.where(merged[dim] >= 0, merged[dim], ids) if dim in merged else ids
    itemsize = max((value.itemsize for value in values), default=4)
    return Value(shape, {}, itemsize).relabel(shape, merged)


@rule("prelu")
def prelu(call: Call) -> Value:
    """One slope for all, or one per channel (dimension 1)."""
    x, weight = call.value("self"), call.value("weight")
    if weight.labels and x.ndim > 1:
        call.trace.mark(weight.at(0), "slope")
        call.unite(x.at(1), weight.at(0))
        call.attribute("num_parameters", x.at(1))
    return combine(call, [x], call.shape)


@rule("glu")
def glu(call: Call) -> Value:
    """``a * sigmoid(b)`` with the halves a, b of a dimension: channel i is tied to channel i + C / 2."""
    x = call.value("self")
    dim = x.dim(call["dim"])
    labels = dict(x.labels)
    if dim in labels:
        first, second = np.split(labels[dim], 2)
        call.unite(first, second)
        labels[dim] = first
    return x.relabel(call.shape, labels)
