"""Operators that join or cut dimensions: concat, stack, split, chunk, slice, select, padding."""

from math import gcd

import numpy as np

from eyas.pruning.tracing.call import Call, unknown
from eyas.pruning.tracing.rule_registry import UnsupportedForm, rule
from eyas.pruning.tracing.rules_elementwise import combine
from eyas.pruning.tracing.state import Attribute
from eyas.pruning.tracing.union_find import Ids
from eyas.pruning.tracing.values import Value


@rule("cat", "concat", "concatenate")
def concat(call: Call) -> Value:
    """Joins ids along one dimension, ties them along the others."""
    values = [value for value in call["tensors"] if value.shape != (0,)]
    dim = values[0].dim(call["dim"] or 0)
    shape = call.shape
    others = [value.relabel(value.shape, {d: i for d, i in value.labels.items() if d != dim}) for value in values]
    result = combine(call, others, shape)
    return result.relabel(shape, {**result.labels, dim: np.concatenate([value.at(dim) for value in values])})


@rule("stack")
def stack(call: Call) -> Value:
    """A new dimension; the stacked tensors have one shape, so their channels are tied."""
    values, dim = call["tensors"], call["dim"] % len(call.shape)
    joined = combine(call, values, values[0].shape)
    return joined.relabel(call.shape, {d + (d >= dim): ids for d, ids in joined.labels.items()})


@rule("split", "split_with_sizes", "chunk", "tensor_split", "unsafe_split", "unsafe_chunk", "hsplit", "vsplit")
def split(call: Call) -> list[Value]:
    """Cuts a dimension into pieces; all shrink in proportion, unless the module says that its sizes follow its layers.

    Such a class has ``splits_by_its_layers = True`` and cuts by attributes of its layers, which surgery sets.
    """
    x = call.first
    fixed = {"hsplit": min(1, x.ndim - 1), "vsplit": 0}
    dim = fixed[call.operator] if call.operator in fixed else x.dim(call["dim"])
    if dim not in x.labels:
        return [x.relabel(tuple(shape), x.labels) for shape in call.outputs]
    sizes = [shape[dim] for shape in call.outputs]
    pieces = np.split(x.labels[dim], np.cumsum(sizes)[:-1])
    if not getattr(type(call.trace.modules.get(call.module)), "splits_by_its_layers", False):
        _in_proportion(call, pieces)
    results = zip(call.outputs, pieces, strict=True)
    return [x.relabel(tuple(shape), {**x.labels, dim: piece}) for shape, piece in results]


def _in_proportion(call: Call, pieces: list[Ids]) -> None:
    """Tie channels across the pieces so that every piece keeps its share of the width."""
    pieces = [piece for piece in pieces if len(piece)]
    if len(pieces) < 2:
        return
    call.trace.site(call.code, 1, np.concatenate(pieces))
    share = gcd(*(len(piece) for piece in pieces))
    first = pieces[0].reshape(share, -1)[:, :1]
    for piece in pieces:
        call.unite(piece.reshape(share, -1), first)


@rule("slice", "narrow")
def cut(call: Call) -> Value:
    """One range of a dimension; what stays and what goes shrink in proportion."""
    x = call.value("self")
    dim = x.dim(call["dim"] or 0)
    if dim not in x.labels:
        return x.relabel(call.shape, x.labels)
    ids = x.labels[dim]
    start, stop, step = _range(call, len(ids))
    if step > 1:
        return x.relabel(call.shape, {**x.labels, dim: _strided(call, ids, start, stop, step)})
    _in_proportion(call, [ids[:start], ids[start:stop], ids[stop:]])
    return x.relabel(call.shape, {**x.labels, dim: ids[start:stop]})


def _range(call: Call, size: int) -> tuple[int, int, int]:
    """Start, stop and step of a slice or narrow, within bounds."""
    if call.operator == "narrow":
        if not isinstance(call["start"], int):
            msg = "from a start that is computed"
            raise UnsupportedForm(msg)
        start = int(call["start"]) % size
        return start, start + int(call["length"]), 1
    return slice(call["start"], call["end"], call["step"]).indices(size)


def _strided(call: Call, ids: Ids, start: int, stop: int, step: int) -> Ids:
    """Every ``step``-th channel: runs of ``step`` channels live or die together."""
    if len(ids) % step or stop - start <= len(ids) - step:
        call.freeze(ids, f"every {step}th channel is picked from a hard-wired range")
    else:
        call.trace.site(call.code, 1, ids)
        rows = ids.reshape(-1, step)
        call.unite(rows, rows[:, :1])
    return ids[start:stop:step]


@rule("select", "unbind")
def select(call: Call) -> Value | list[Value]:
    """One entry (or each) of a dimension; picking single channels freezes them."""
    x = call.value("self")
    dim = x.dim(call["dim"] or 0)
    if dim in x.labels:
        call.freeze(x.labels[dim], f"{call.operator} picks channels by their number")
    labels = {d - (d > dim): ids for d, ids in x.labels.items() if d != dim}
    if isinstance(call.outputs, list):
        return [x.relabel(tuple(shape), labels) for shape in call.outputs]
    return x.relabel(call.shape, labels)


@rule("index_select", "gather")
def pick(call: Call) -> Value:
    """Entries picked by a tensor of indices; along channels that is hard-wired."""
    x = call.value("self")
    dim = x.dim(call["dim"])
    if call.operator == "gather":
        return unknown(call)  # type: ignore[no-any-return]
    if dim in x.labels:
        call.freeze(x.labels[dim], "channels are picked by a fixed table of indices")
    return x.relabel(call.shape, {d: ids for d, ids in x.labels.items() if d != dim})


@rule("pad", "constant_pad_nd")
def pad(call: Call) -> Value:
    """Padding over space passes; over channels it needs a module that surgery can rewrite."""
    x, amounts = call.value("self"), call["pad"]
    mode = call["mode"] if call.operator == "pad" else "constant"
    labels = dict(x.labels)
    for index in range(len(amounts) // 2):
        dim, before, after = x.ndim - 1 - index, amounts[2 * index], amounts[2 * index + 1]
        if dim in labels and (before or after):
            labels[dim] = _padded(call, x, dim, before, after)
        elif mode != "constant" and dim in labels:
            call.freeze(labels[dim], f"{mode} padding mixes channels")
    return x.relabel(call.shape, labels)


def _padded(call: Call, x: Value, dim: int, before: int, after: int) -> Ids:
    """Ids along a padded channel dimension: zero channels of a ChannelPad are channels like any other."""
    ids = x.labels[dim]
    module = call.trace.modules.get(call.module)
    names: tuple[str, ...] = getattr(type(module), "zero_channels", ())
    rewritable = len(names) == 2 and dim == 1 and not call["value"] and min(before, after) >= 0
    if not rewritable or [getattr(module, name, None) for name in names] != [before, after]:
        fixed = [call.trace.channels.new(max(count, 0)) for count in (before, after)]
        padded = np.concatenate([fixed[0], ids, fixed[1]])
        call.freeze(padded, "the number of channels added by padding is hard-wired")
        return padded[max(-before, 0) : len(padded) - max(-after, 0)]
    zeros = [call.trace.channels.new(count) for count in (before, after)]
    for name, fresh in zip(names, zeros, strict=True):
        call.trace.attributes[call.module, name] = Attribute(call.module, name, fresh)
    return np.concatenate([zeros[0], ids, zeros[1]])
