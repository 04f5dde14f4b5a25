"""What the interpreter knows of a tensor: its shape, and the channel ids along its labelled dimensions."""

from dataclasses import dataclass, field

import numpy as np

from eyas.pruning.groups import FIXED
from eyas.pruning.tracing.union_find import Ids


@dataclass(frozen=True)
class Value:
    """A tensor: its shape and ``{dimension: ids along it}``; a dimension of size 1 is never labelled."""

    shape: tuple[int, ...]
    labels: dict[int, Ids] = field(default_factory=dict)
    itemsize: int = 4

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def ids(self) -> Ids:
        """All ids the tensor carries."""
        return np.concatenate([np.empty(0, dtype=np.int64), *self.labels.values()])

    def dim(self, dim: int) -> int:
        """``dim`` counted from the front."""
        return dim % self.ndim if self.ndim else 0

    def at(self, dim: int) -> Ids:
        """The ids along ``dim``; fixed throughout where it is not labelled."""
        dim = self.dim(dim)
        return self.labels.get(dim, np.full(self.shape[dim], FIXED, dtype=np.int64))

    def relabel(self, shape: tuple[int, ...], labels: dict[int, Ids]) -> "Value":
        """A tensor of another shape; labels that say nothing are dropped."""
        useful = {dim: ids for dim, ids in labels.items() if shape[dim] > 1 and (ids >= 0).any()}
        assert all(len(ids) == shape[dim] for dim, ids in useful.items()), f"labels that do not fit {shape}"
        return Value(shape, useful, self.itemsize)


def aligned(value: Value, ndim: int) -> dict[int, Ids]:
    """Labels by dimension after broadcasting to ``ndim`` dimensions."""
    return {dim + ndim - value.ndim: ids for dim, ids in value.labels.items()}


def aligned_shape(value: Value, ndim: int) -> tuple[int, ...]:
    """Shape after broadcasting to ``ndim`` dimensions."""
    return (1,) * (ndim - value.ndim) + value.shape
