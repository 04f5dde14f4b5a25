"""Normalisations: per channel they pass, per group they lose whole groups, across channels they freeze."""

from eyas.pruning.groups import Role
from eyas.pruning.tracing.call import Call
from eyas.pruning.tracing.rule_registry import rule
from eyas.pruning.tracing.union_find import Ids
from eyas.pruning.tracing.values import Value


@rule("batch_norm", "instance_norm")
def per_channel_norm(call: Call) -> Value:
    """Statistics per channel (dimension 1)."""
    x = call.value("input")
    ids = x.at(1)
    _affine(call, ids, {"weight": "scale", "bias": "shift", "running_mean": "mean", "running_var": "var"})
    call.attribute("num_features", ids)
    for dim, other in x.labels.items():
        if dim != 1:
            call.freeze(other, f"is normalised across channels by {call.operator}")
    return x


@rule("group_norm")
def group_norm(call: Call) -> Value:
    """Statistics per group of channels: whole groups are kept or lost."""
    x, groups = call.value("input"), call["num_groups"]
    ids = x.at(1)
    rows = ids.reshape(groups, -1)
    call.unite(rows, rows[:, :1])
    _affine(call, ids, {"weight": "scale", "bias": "shift"})
    call.attribute("num_channels", ids)
    call.attribute("num_groups", ids, len(ids) // groups)
    for dim, other in x.labels.items():
        if dim != 1:
            call.freeze(other, "is normalised across channels by group_norm")
    return x


@rule("layer_norm", "rms_norm")
def layer_norm(call: Call) -> Value:
    """Statistics over the last dimensions: channels among them freeze."""
    x = call.value("input")
    first = x.ndim - len(call["normalized_shape"])
    for dim, ids in x.labels.items():
        if dim >= first:
            call.freeze(ids, f"is normalised across channels by {call.operator}")
    roles: dict[str, Role] = {"weight": "scale"}
    if call.operator != "rms_norm":
        roles["bias"] = "shift"
    for name, role in roles.items():
        if call[name] is not None:
            for dim, ids in call.value(name).labels.items():
                call.trace.mark(ids, role)
                call.unite(ids, x.at(first + dim))
    return x


def _affine(call: Call, ids: Ids, roles: dict[str, Role]) -> None:
    """Tie the parameters and buffers of a normalisation to its channels."""
    for name, role in roles.items():
        if call[name] is not None:
            call.trace.mark(call.value(name).at(0), role)
            call.unite(call.value(name).at(0), ids)
