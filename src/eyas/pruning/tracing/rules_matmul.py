"""Products of matrices and attention: channels that are contracted freeze, the others pass."""

from math import prod

import numpy as np

from eyas.pruning.tracing.call import Call, unknown
from eyas.pruning.tracing.rule_registry import rule
from eyas.pruning.tracing.rules_conv import count_activation
from eyas.pruning.tracing.rules_elementwise import combine
from eyas.pruning.tracing.union_find import Ids
from eyas.pruning.tracing.values import Value


@rule("matmul", "bmm", "mm", "baddbmm", "addmm")
def matmul(call: Call) -> Value:
    """``(..., M, K) @ (..., K, N)``: K freezes, M and N pass, the leading dimensions are tied."""
    if call.operator in ("baddbmm", "addmm"):
        return unknown(call)  # type: ignore[no-any-return]
    first, second = call.tensors(2)
    if first.ndim < 2 or second.ndim < 2:
        return unknown(call)  # type: ignore[no-any-return]
    if second.ndim == 2 and call.trace.is_parameter(second.at(0)):
        return _linear(call, first, second)
    for ids in (first.at(-1), second.at(-2)):
        call.freeze(ids, "is contracted by a product of two activations")
    return _outer(call, first, second, first.at(-2), second.at(-1))


def _linear(call: Call, x: Value, weight_IO: Value) -> Value:
    """A product with a weight is a linear layer."""
    call.trace.mark(weight_IO.at(1), "out")
    call.trace.mark(weight_IO.at(0), "in")
    call.unite(x.at(-1), weight_IO.at(0))
    lead = {dim: ids for dim, ids in x.labels.items() if dim < x.ndim - 1}
    fixed = prod(size for dim, size in enumerate(x.shape[:-1]) if dim not in lead)
    call.count(call.trace.macs, fixed, [*lead.values(), weight_IO.at(0), weight_IO.at(1)])
    result = x.relabel(call.shape, {**lead, x.ndim - 1: weight_IO.at(1)})
    count_activation(call, result)
    return result


@rule("einsum")
def einsum(call: Call) -> Value:
    """Letters of the output pass and are tied among the operands; all others freeze."""
    equation, operands = str(call["equation"]).replace(" ", ""), call.values()
    inputs, arrow, output = equation.partition("->")
    if not arrow or "." in equation:
        return unknown(call)  # type: ignore[no-any-return]
    places: dict[str, Ids] = {}
    for letters, value in zip(inputs.split(","), operands, strict=True):
        for dim, letter in enumerate(letters):
            ids = value.at(dim)
            if letter not in output:
                call.freeze(ids, "is contracted by einsum")
            elif letter in places:
                call.unite(ids, places[letter])
            else:
                places[letter] = ids
    return operands[0].relabel(call.shape, {dim: places[letter] for dim, letter in enumerate(output)})


def _outer(call: Call, first: Value, second: Value, rows: Ids, columns: Ids) -> Value:
    """Leading dimensions broadcast and tied, rows from the first factor, columns from the second."""
    shape = call.shape
    leads = []
    for value in (first, second):
        labels = {dim: ids for dim, ids in value.labels.items() if dim < value.ndim - 2}
        leads.append(value.relabel(value.shape[:-2], labels))
    lead = combine(call, leads, shape[:-2])
    return lead.relabel(shape, {**lead.labels, len(shape) - 2: rows, len(shape) - 1: columns})


@rule("scaled_dot_product_attention")
def attention(call: Call) -> Value:
    """``softmax(q k^T) v``: the width of q and k freezes, that of v passes."""
    query, key, value = call.value("query"), call.value("key"), call.value("value")
    for operand in (query, key):
        call.freeze(operand.at(-1), "is contracted by attention")
    call.freeze(np.concatenate([key.at(-2), value.at(-2)]), "is contracted by attention")
    if call["attn_mask"] is not None:
        call.freeze(call.value("attn_mask").ids(), "masks attention")
    return _outer(call, query, value, query.at(-2), value.at(-1))


@rule("embedding")
def embedding(call: Call) -> Value:
    """Rows of a table: its columns are the channels."""
    weight = call.value("weight")
    call.freeze(weight.at(0), "is a table of fixed length")
    call.trace.mark(weight.at(1), "out")
    call.attribute("embedding_dim", weight.at(1))
    return weight.relabel(call.shape, {len(call.shape) - 1: weight.at(1)})


@rule("outer")
def outer(call: Call) -> Value:
    """All products of two vectors."""
    first, second = call.tensors(2)
    return first.relabel(call.shape, {0: first.at(0), 1: second.at(0)})
