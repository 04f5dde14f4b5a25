"""Operators that rearrange dimensions: views, permutations, squeezes, expansions, pixel shuffle."""

from math import prod

import numpy as np

from eyas.pruning.tracing.call import Call
from eyas.pruning.tracing.rule_registry import UnsupportedForm, rule
from eyas.pruning.tracing.union_find import Ids
from eyas.pruning.tracing.values import Value, aligned

Blocks = list[tuple[list[int], list[int]]]


def blocks(before: tuple[int, ...], after: tuple[int, ...]) -> Blocks:
    """The finest pairing of dimensions such that each pair of lists holds the same number of entries.

    Dimensions of size 1 belong to no block.
    """
    left = [dim for dim, size in enumerate(before) if size != 1]
    right = [dim for dim, size in enumerate(after) if size != 1]
    pairs: Blocks = []
    while left and right:
        ins, outs = [left.pop(0)], [right.pop(0)]
        while (a := prod(before[d] for d in ins)) != (b := prod(after[d] for d in outs)):
            if a < b:
                ins.append(left.pop(0))
            else:
                outs.append(right.pop(0))
        pairs.append((ins, outs))
    return pairs


@rule("view", "reshape", "_unsafe_view", "flatten", "unflatten", "view_as", "reshape_as", "_reshape_alias")
def reshape(call: Call) -> Value:
    """Any reshape: merged dimensions repeat their ids, a split one shrinks in one of its parts."""
    x = call.first
    shape = call.shape
    if prod(x.shape) != prod(shape) or prod(shape) == 0:
        call.freeze(x.ids(), f"{call.operator} changes the type of its entries")
        return Value(shape)
    labels: dict[int, Ids] = {}
    for ins, outs in blocks(x.shape, shape):
        labelled = [dim for dim in ins if dim in x.labels]
        if len(labelled) > 1:
            call.freeze(np.concatenate([x.labels[dim] for dim in labelled]), "merges two channel dimensions")
        elif labelled and (ins, outs) == ([labelled[0]], [outs[0]]):
            labels[outs[0]] = _carried(call, x.labels[labelled[0]])
        elif labelled:
            labels |= _rearranged(call, x, labelled[0], ins, outs)
    return x.relabel(shape, labels)


def _carried(call: Call, ids: Ids) -> Ids:
    """A dimension a reshape leaves alone; its literal size may still be hard-wired."""
    call.trace.site(call.code, 1, ids)
    return ids


def _rearranged(call: Call, x: Value, dim: int, ins: list[int], outs: list[int]) -> dict[int, Ids]:
    """Labels of the output dimensions ``outs`` of a block whose input dimension ``dim`` is labelled."""
    ids = x.labels[dim]
    spread = ids.reshape([-1 if d == dim else 1 for d in ins])
    spread = np.broadcast_to(spread, [x.shape[d] for d in ins]).reshape([call.shape[d] for d in outs])
    roots = call.trace.channels.canonical(spread)
    varying = [axis for axis in range(len(outs)) if (roots != roots.take([0], axis)).any()]
    candidates = varying[::-1] or [len(outs) - 1]
    choice = call.trace.site(call.code, len(candidates), ids)
    axis = candidates[min(choice, len(candidates) - 1)]
    first = spread
    for other in range(len(outs)):
        if other != axis:
            first = first.take([0], other)
    call.unite(spread, first)
    return {outs[axis]: first.ravel()}


@rule("permute", "transpose", "t", "numpy_T", "movedim", "swapaxes", "swapdims", "adjoint", "mT")
def permute(call: Call) -> Value:
    """Reorders dimensions."""
    x = call.value("self")
    order = list(range(x.ndim))
    if call.operator == "permute":
        order = [x.dim(dim) for dim in call["dims"]]
    elif call.operator == "numpy_T":
        order.reverse()
    elif call.operator == "movedim":
        return _moved(call, x)
    else:
        names = {"transpose": ("dim0", "dim1"), "swapaxes": ("axis0", "axis1"), "swapdims": ("dim0", "dim1")}
        first, second = (x.dim(call[name]) for name in names[call.operator]) if call.operator in names else (-2, -1)
        if x.ndim > 1:
            order[first], order[second] = order[second], order[first]
    return x.relabel(call.shape, {index: x.labels[dim] for index, dim in enumerate(order) if dim in x.labels})


def _moved(call: Call, x: Value) -> Value:
    """``movedim`` by its definition: the moved ones at their places, the others in order."""
    one = isinstance(call["source"], int)
    source = [call["source"]] if one else call["source"]
    target = [call["destination"]] if one else call["destination"]
    places = {x.dim(t): x.dim(s) for s, t in zip(source, target, strict=True)}
    rest = iter(dim for dim in range(x.ndim) if dim not in places.values())
    order = [places[dim] if dim in places else next(rest) for dim in range(x.ndim)]
    return x.relabel(call.shape, {index: x.labels[dim] for index, dim in enumerate(order) if dim in x.labels})


@rule("squeeze", "unsqueeze")
def squeeze(call: Call) -> Value:
    """Drops or adds dimensions of size 1."""
    x = call.value("self")
    if not x.labels:
        return x.relabel(call.shape, {})
    if call.operator == "unsqueeze":
        added = call["dim"] % (x.ndim + 1)
        return x.relabel(call.shape, {d + (d >= added): ids for d, ids in x.labels.items()})
    dim = call.optional("dim")
    if dim is None:
        call.trace.squeezed.extend(x.labels.values())
    dims = range(x.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
    dropped = {x.dim(d) for d in dims if x.shape[x.dim(d)] == 1}
    labels = {d - sum(other < d for other in dropped): ids for d, ids in x.labels.items()}
    return x.relabel(call.shape, labels)


@rule("expand", "broadcast_to")
def expand(call: Call) -> Value:
    """Repeats dimensions of size 1."""
    x = call.value("self")
    labels = aligned(x, len(call.shape))
    for ids in labels.values():
        call.trace.site(call.code, 1, ids)
    return x.relabel(call.shape, labels)


@rule("repeat", "tile")
def repeat(call: Call) -> Value:
    """Repeats whole dimensions."""
    x = call.value("self")
    labels = {dim: np.tile(ids, call.shape[dim] // len(ids)) for dim, ids in aligned(x, len(call.shape)).items()}
    return x.relabel(call.shape, labels)


@rule("repeat_interleave")
def repeat_interleave(call: Call) -> Value:
    """Repeats entries along one dimension."""
    if call.optional("self") is None:
        msg = "of a table alone"
        raise UnsupportedForm(msg)
    x, dim = call.value("self"), call["dim"]
    if not isinstance(call["repeats"], int) or dim is None:
        call.freeze(x.ids(), "repeat_interleave repeats its channels by a fixed table")
        return Value(call.shape, {}, x.itemsize)
    labels = dict(x.labels)
    if x.dim(dim) in labels:
        labels[x.dim(dim)] = np.repeat(labels[x.dim(dim)], call["repeats"])
    return x.relabel(call.shape, labels)


@rule("pixel_shuffle")
def pixel_shuffle(call: Call) -> Value:
    """``(..., C r^2, H, W) -> (..., C, H r, W r)``: the r^2 channels of one output live or die together."""
    x = call.value("self")
    dim = x.ndim - 3
    labels = dict(x.labels)
    if dim in labels:
        rows = labels[dim].reshape(-1, call["upscale_factor"] ** 2)
        call.unite(rows, rows[:, :1])
        labels[dim] = rows[:, 0]
    return x.relabel(call.shape, labels)


@rule("pixel_unshuffle")
def pixel_unshuffle(call: Call) -> Value:
    """``(..., C, H, W) -> (..., C r^2, H / r, W / r)``: each channel becomes r^2 of them."""
    x = call.value("self")
    dim = x.ndim - 3
    labels = {d: np.repeat(ids, call["downscale_factor"] ** 2) if d == dim else ids for d, ids in x.labels.items()}
    return x.relabel(call.shape, labels)


@rule("channel_shuffle", "native_channel_shuffle")
def channel_shuffle(call: Call) -> Value:
    """Transposes (groups, C / groups): channel j of every group lives or dies together."""
    x, groups = call.value("self"), call["groups"]
    labels = dict(x.labels)
    if 1 in labels:
        rows = labels[1].reshape(groups, -1)
        call.unite(rows, rows[:1])
        labels[1] = rows.T.ravel()
    return x.relabel(call.shape, labels)


@rule("flip", "roll")
def reorder(call: Call) -> Value:
    """Reverses or rolls dimensions; along channels the order would change under the consumers."""
    x = call.value("self")
    dims = {x.dim(dim) for dim in call["dims"]} if call["dims"] else set(range(x.ndim))
    labels = dict(x.labels)
    for dim in dims & set(labels):
        if call.operator == "flip":
            labels[dim] = labels[dim][::-1]
        else:
            call.freeze(labels[dim], "roll shifts its channels by a fixed number")
    return x.relabel(call.shape, labels)
