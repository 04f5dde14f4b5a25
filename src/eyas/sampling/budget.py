"""What a candidate may cost: a band of MACs, parameters or activation memory.

Shapes: n candidates, G channel groups in the order of ``space.groups``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eyas.errors import ParameterError

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace

Widths = NDArray[np.int64]
METRICS = ("macs", "params", "activation_bytes")


@dataclass(frozen=True)
class Budget:
    """A band of one cost, in its own unit per image: ``low <= cost <= high``."""

    metric: str
    """``macs``, ``params`` or ``activation_bytes``."""
    target: float
    low: float
    high: float

    @classmethod
    def of(cls, space: "SearchSpace", metric: str, value: float, tolerance: float = 0.005) -> "Budget":
        """The band ``value +- tolerance x dense``; a value up to 1 is a share of the dense cost.

        Raises:
            ParameterError: there is no such metric.
        """
        if metric not in METRICS:
            msg = f"there is no `metric` {metric!r}: known are {', '.join(METRICS)}"
            raise ParameterError(msg)
        dense = float(getattr(space.cost(), metric))
        target = value * dense if value <= 1 else float(value)
        return cls(metric, target, target - tolerance * dense, target + tolerance * dense)

    @classmethod
    def parse(cls, space: "SearchSpace", limit: Any, tolerance: float = 0.005) -> "Budget":
        """The band around a limit such as ``{"macs": 0.25}``; a band stays as it is.

        Raises:
            ParameterError: it is no such limit.
        """
        if isinstance(limit, Budget):
            return limit
        if not isinstance(limit, Mapping) or len(limit) != 1:
            msg = f"`budget` {limit!r}: give one limit, such as {{'macs': 0.5}}; known are {', '.join(METRICS)}"
            raise ParameterError(msg)
        ((metric, value),) = limit.items()
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < math.inf:
            msg = f"`budget` {limit!r}: give a share of the dense cost up to 1, or a larger number"
            raise ParameterError(msg)
        return cls.of(space, metric, float(value), tolerance)

    def costs(self, space: "SearchSpace", widths: Widths) -> NDArray[np.float64]:
        """The metric of each row of ``(n, G)`` widths, ``(n,)``."""
        return np.asarray(getattr(space.costs(widths), self.metric), dtype=np.float64)

    def holds(self, costs: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which costs lie inside the band."""
        return (costs >= self.low) & (costs <= self.high)
