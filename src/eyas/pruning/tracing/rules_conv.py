"""Convolutions in one to three dimensions: plain, grouped, depthwise, transposed. And linear layers."""

from math import prod

import numpy as np

from eyas.pruning.tracing.call import Call, unknown
from eyas.pruning.tracing.rule_registry import rule
from eyas.pruning.tracing.union_find import Ids
from eyas.pruning.tracing.values import Value


@rule("conv1d", "conv2d", "conv3d")
def convolution(call: Call) -> Value:
    """``(N, I, ...) -> (N, O, ...)`` with a weight ``(O, I / groups, ...)``."""
    x, weight, groups = call.value("input"), call.value("weight"), call["groups"]
    channel = x.ndim - weight.ndim + 1
    inputs, outputs = x.at(channel), weight.at(0)
    call.trace.mark(outputs, "out")
    if groups == 1:
        call.trace.mark(weight.at(1), "in")
        call.unite(inputs, weight.at(1))
    else:
        call.freeze(weight.at(1), "reads whole groups")
        _couple_groups(call, inputs, outputs, groups)
    _attributes(call, inputs, outputs, groups)
    result = _result(call, x, channel, outputs)
    _count(call, result, weight)
    return result


@rule("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def transposed_convolution(call: Call) -> Value:
    """``(N, I, ...) -> (N, O, ...)`` with a weight ``(I, O / groups, ...)``."""
    x, weight, groups = call.value("input"), call.value("weight"), call["groups"]
    channel = x.ndim - weight.ndim + 1
    inputs = x.at(channel)
    if groups == 1:
        call.trace.mark(weight.at(0), "in")
        call.trace.mark(weight.at(1), "out")
        call.unite(inputs, weight.at(0))
        outputs = weight.at(1)
    else:
        call.trace.mark(weight.at(0), "out")
        call.freeze(weight.at(1), "belongs to whole groups")
        _couple_groups(call, inputs, weight.at(0), groups)
        outputs = np.repeat(weight.at(0).reshape(groups, -1)[:, 0], weight.shape[1])
    _attributes(call, inputs, outputs, groups)
    result = _result(call, x, channel, outputs)
    _count(call, x, weight, result)
    return result


def _couple_groups(call: Call, inputs: Ids, outputs: Ids, groups: int) -> None:
    """Tie all inputs and outputs of each group: a grouped convolution loses whole groups."""
    rows_in, rows_out = inputs.reshape(groups, -1), outputs.reshape(groups, -1)
    call.unite(rows_out, rows_out[:, :1])
    call.unite(rows_in, rows_out[:, :1])


def _attributes(call: Call, inputs: Ids, outputs: Ids, groups: int) -> None:
    """``in_channels``, ``out_channels`` and ``groups`` follow the channels."""
    call.attribute("in_channels", inputs)
    call.attribute("out_channels", outputs)
    if groups > 1:
        call.attribute("groups", outputs, len(outputs) // groups)


def _result(call: Call, x: Value, channel: int, outputs: Ids) -> Value:
    """The output: batch labels pass, labels over space freeze, the bias joins its channel."""
    for dim, ids in x.labels.items():
        if dim > channel:
            call.freeze(ids, f"{call.operator} slides over its channels")
    _bias(call, outputs)
    batch = {dim: ids for dim, ids in x.labels.items() if dim < channel}
    return x.relabel(call.shape, {**batch, channel: outputs})


def _bias(call: Call, outputs: Ids) -> None:
    if call["bias"] is not None:
        call.trace.mark(call.value("bias").at(0), "bias")
        call.unite(call.value("bias").at(0), outputs)


def _count(call: Call, moved: Value, weight: Value, result: Value | None = None) -> None:
    """MACs: positions of ``moved`` (output; input if transposed) times the entries of the weight."""
    channel = moved.ndim - weight.ndim + 1
    positions = moved.relabel(moved.shape, {dim: ids for dim, ids in moved.labels.items() if dim < channel})
    fixed = prod(size for dim, size in enumerate(moved.shape) if dim != channel and dim not in positions.labels)
    factors = [*positions.labels.values(), weight.at(0), weight.at(1)]
    call.count(call.trace.macs, fixed * prod(weight.shape[2:]), factors)
    count_activation(call, result or moved)


def count_activation(call: Call, value: Value) -> None:
    """Bytes of an output that has to be stored."""
    fixed = prod(size for dim, size in enumerate(value.shape) if dim not in value.labels)
    call.count(call.trace.activations, fixed * value.itemsize, list(value.labels.values()))


@rule("linear")
def linear(call: Call) -> Value:
    """``(..., I) -> (..., O)`` with a weight ``(O, I)``."""
    x, weight = call.value("input"), call.value("weight")
    if weight.ndim != 2:
        return unknown(call)  # type: ignore[no-any-return]
    inputs, outputs = x.at(-1), weight.at(0)
    call.trace.mark(outputs, "out")
    call.trace.mark(weight.at(1), "in")
    call.unite(inputs, weight.at(1))
    _bias(call, outputs)
    call.attribute("in_features", inputs)
    call.attribute("out_features", outputs)
    lead = {dim: ids for dim, ids in x.labels.items() if dim < x.ndim - 1}
    fixed = prod(size for dim, size in enumerate(x.shape[:-1]) if dim not in lead)
    call.count(call.trace.macs, fixed, [*lead.values(), outputs, weight.at(1)])
    result = x.relabel(call.shape, {**lead, x.ndim - 1: outputs})
    count_activation(call, result)
    return result
