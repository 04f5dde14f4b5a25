"""Operators over space: pooling, interpolation, spatial padding, reductions, softmax."""

from collections.abc import Sequence

import numpy as np

from eyas.pruning.tracing.call import Call, unknown
from eyas.pruning.tracing.rule_registry import rule
from eyas.pruning.tracing.rules_elementwise import combine
from eyas.pruning.tracing.values import Value

_SPATIAL = {
    1: ["avg_pool1d", "max_pool1d", "adaptive_avg_pool1d", "upsample_linear1d", "upsample_nearest1d",
        "reflection_pad1d", "replication_pad1d", "_upsample_nearest_exact1d"],
    2: ["avg_pool2d", "max_pool2d", "adaptive_avg_pool2d", "upsample_bilinear2d", "upsample_bicubic2d",
        "upsample_nearest2d", "_upsample_nearest_exact2d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa",
        "reflection_pad2d", "replication_pad2d"],
    3: ["avg_pool3d", "max_pool3d", "adaptive_avg_pool3d", "upsample_trilinear3d", "upsample_nearest3d",
        "_upsample_nearest_exact3d", "reflection_pad3d", "replication_pad3d"],
}  # fmt: skip
_WITH_INDICES = {
    1: ["adaptive_max_pool1d", "max_pool1d_with_indices"],
    2: ["adaptive_max_pool2d", "max_pool2d_with_indices"],
    3: ["adaptive_max_pool3d", "max_pool3d_with_indices"],
}


def _space_of(operator: str) -> int:
    return next(dims for table in (_SPATIAL, _WITH_INDICES) for dims, names in table.items() if operator in names)


@rule(*(name for names in _SPATIAL.values() for name in names))
def over_space(call: Call) -> Value:
    """Mixes positions within each channel; channels among the positions freeze."""
    x = call.first
    return _keep_channels(call, x, call.shape)


@rule(*(name for names in _WITH_INDICES.values() for name in names))
def pool_with_indices(call: Call) -> list[Value]:
    """A pooling that also returns where the maxima were."""
    x = call.first
    return [_keep_channels(call, x, tuple(shape)) for shape in call.outputs]


def _keep_channels(call: Call, x: Value, shape: tuple[int, ...]) -> Value:
    first = x.ndim - _space_of(call.operator)
    for dim, ids in x.labels.items():
        if dim >= first:
            call.freeze(ids, f"{call.operator} mixes neighbouring channels")
    return x.relabel(shape, {dim: ids for dim, ids in x.labels.items() if dim < first})


@rule("grid_sampler", "grid_sampler_2d", "grid_sampler_3d")
def grid_sample(call: Call) -> Value:
    """Samples positions; the grid itself must be free of channels."""
    x, grid = call.value("input"), call.value("grid")
    call.freeze(grid.ids(), "its channels are sampling positions")
    for dim, ids in x.labels.items():
        if dim > 1:
            call.freeze(ids, "grid_sample mixes neighbouring channels")
    return x.relabel(call.shape, {dim: ids for dim, ids in x.labels.items() if dim == 1})


@rule("mean", "sum", "amax", "amin", "var", "std", "logsumexp", "prod", "linalg_vector_norm", "norm",
      "any", "all", "argmax", "argmin", "count_nonzero", "max", "min", "median", "var_mean", "std_mean")  # fmt: skip
def reduction(call: Call) -> Value | list[Value]:
    """Reduces some dimensions; channels among them freeze, the others pass."""
    x = call.first
    if len(call.values()) > 1:
        return unknown(call) if call.optional("dim") is not None else _pointwise(call)
    dims = reduced_dims(x, call.optional("dim"))
    for dim, ids in x.labels.items():
        if dim in dims:
            call.freeze(ids, f"{call.operator} reduces over its channels")
    kept = [dim for dim in range(x.ndim) if dim not in dims]
    keepdim = call.operator != "count_nonzero" and call.optional("keepdim")
    place = {dim: dim if keepdim else index for index, dim in enumerate(kept)}
    labels = {place[dim]: ids for dim, ids in x.labels.items() if dim not in dims}
    if isinstance(call.outputs, list):
        return [x.relabel(tuple(shape), labels) for shape in call.outputs]
    return x.relabel(call.shape, labels)


def _pointwise(call: Call) -> Value:
    """``torch.max(a, b)`` and the like compare element by element."""
    return combine(call, call.values(), call.shape)


def reduced_dims(x: Value, dim: int | Sequence[int] | None) -> set[int]:
    """The dimensions a reduction runs over; none given means all."""
    if dim is None or (not isinstance(dim, int) and len(dim) == 0):
        return set(range(x.ndim))
    return {x.dim(item) for item in ([dim] if isinstance(dim, int) else dim)}


@rule("softmax", "log_softmax", "_softmax", "_log_softmax", "cumsum", "cumprod", "logcumsumexp", "sort")
def along_dimension(call: Call) -> Value | list[Value]:
    """Mixes entries along one dimension; channels along it freeze."""
    x = call.first
    dim = x.dim(call["dim"])
    if dim in x.labels:
        call.freeze(x.labels[dim], f"{call.operator} runs over its channels")
    if isinstance(call.outputs, list):
        return [x.relabel(x.shape, x.labels) for _ in call.outputs]
    return x


@rule("im2col")
def unfold(call: Call) -> Value:
    """``(N, C, H, W) -> (N, C * kernel positions, L)``."""
    x = call.value("self")
    for dim, ids in x.labels.items():
        if dim != 1:
            call.freeze(ids, "unfold mixes neighbouring channels")
    return x.relabel(call.shape, {1: np.repeat(x.at(1), call.shape[1] // x.shape[1])})
