"""What a candidate may cost: a band of one cost, or upper limits of several of which one is met.

Costs are MACs, parameters and activation memory; the size of the exported file; milliseconds on a device, of a latency
model. Shapes: n candidates, G channel groups in the order of ``space.groups``, L limits.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eyas.deploy.latency.latency_model import LEAST_NETWORKS, LatencyModel
from eyas.deploy.latency.predicts_latency import PredictsLatency
from eyas.errors import ParameterError
from eyas.sampling.budget_limits import LIMITS, limit_problem
from eyas.sampling.cost_words import number_in_words
from eyas.sampling.file_size import FileSize
from eyas.sampling.placement import Placement

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace

Widths = NDArray[np.int64]
Floats = NDArray[np.float64]
NARROW = 4.0
"""The band is at most so many tolerances of its own target to either side: narrower than ``tolerance`` of the dense
cost below a quarter of that."""


@dataclass(frozen=True)
class Limit:
    """The band of one cost, in its own unit per image: ``low <= cost <= high``, as far to either side of ``target``."""

    metric: str
    """One of ``LIMITS`` but ``latency``."""
    target: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half the width of the band."""
        return (self.high - self.low) / 2

    def tolerance_to(self, cost: float, dense: float) -> float:
        """A tolerance whose band reaches a cost, rounded up to two digits."""
        return float(f"{1.05 * abs(cost - self.target) / min(dense, NARROW * self.target):.1e}")


@dataclass(frozen=True)
class Budget:
    """One limit, or several at once.

    Of one a candidate lies in its band. Of several it costs at most ``high`` of each, and at least ``low`` of one: of
    the *binding* one, whose cost is the furthest in its band, counted in half widths from the target.
    """

    limits: tuple[Limit, ...]
    latency: PredictsLatency | None = field(default=None, repr=False, compare=False)
    """What predicts milliseconds; None where they are not limited."""
    file_size: FileSize | None = field(default=None, repr=False, compare=False)
    """What predicts bytes of the exported file; None where they are not limited."""

    @classmethod
    def of(
        cls,
        space: "SearchSpace",
        metric: str,
        value: float,
        tolerance: float = 0.005,
        latency: PredictsLatency | None = None,
    ) -> "Budget":
        """The band of one limit, see :meth:`parse`.

        Raises:
            ParameterError: there is no such metric.
        """
        if metric not in LIMITS:
            msg = f"there is no `metric` {metric!r}: known are {', '.join(LIMITS)}"
            raise ParameterError(msg)
        return cls.parse(space, {metric: value}, tolerance, latency)

    @classmethod
    def parse(
        cls, space: "SearchSpace", limit: Any, tolerance: float = 0.005, latency: PredictsLatency | None = None
    ) -> "Budget":
        """The bands around limits such as ``{"macs": 0.25, "latency_ms": 4}``; a budget stays as it is.

        Half a band is ``tolerance x min(dense, 4 x target)``, but no less than the median step of one group's widths
        where it is narrower than ``tolerance x dense``: no band is so narrow that widths jump over it.

        Args:
            space: the search space.
            limit: by metric: up to 1 a share of the dense cost, else absolute. Milliseconds are always absolute,
                ``latency`` is always a share.
            tolerance: half the width of a band, as a share of the dense cost, above 0.
            latency: what predicts milliseconds, where they are limited.

        Raises:
            ParameterError: it is no such limit, or no such tolerance.
        """
        if isinstance(limit, Budget):
            return limit
        if isinstance(tolerance, bool) or not isinstance(tolerance, Real) or not 0 < float(tolerance) <= 1:
            msg = f"`tolerance` {tolerance!r}: give a share of the dense cost above 0 and up to 1, such as 0.005"
            raise ParameterError(msg)
        values = _checked(limit, latency)
        unlimited = cls((), latency, FileSize.of(space) if "file_bytes" in values else None)
        limits = tuple(unlimited._limit(space, *item, tolerance) for item in values.items())
        return replace(unlimited, limits=limits)

    @property
    def metrics(self) -> tuple[str, ...]:
        """What is limited."""
        return tuple(limit.metric for limit in self.limits)

    @property
    def target(self) -> float:
        """What :meth:`costs` aims at."""
        return self.limits[0].target if len(self.limits) == 1 else 0.0

    @property
    def low(self) -> float:
        """The least of :meth:`costs` inside."""
        return self.limits[0].low if len(self.limits) == 1 else -1.0

    @property
    def high(self) -> float:
        """The most of :meth:`costs` inside."""
        return self.limits[0].high if len(self.limits) == 1 else 1.0

    @property
    def nothing(self) -> float:
        """What :meth:`costs` would be of a network that costs nothing."""
        return 0.0 if len(self.limits) == 1 else max(-limit.target / limit.half for limit in self.limits)

    def costs(self, space: "SearchSpace", widths: Widths) -> Floats:
        """One number for each row of ``(n, G)`` widths, ``(n,)``, which ``low`` and ``high`` bound.

        Of one limit its own cost; of several the largest of their ``(cost - target) / half``.
        """
        costs_Ln = self.costs_by_limit(space, widths)
        one: Floats = costs_Ln[0] if len(self.limits) == 1 else self._excess(costs_Ln).max(0)
        return one

    def costs_by_limit(self, space: "SearchSpace", widths: Widths) -> Floats:
        """What each limit bounds, in its own unit, ``(L, n)``."""
        counted = space.costs(widths) if set(self.metrics) - {"latency_ms"} else None
        return np.stack([self._cost(limit.metric, counted, widths) for limit in self.limits])

    def binding(self, space: "SearchSpace", widths: Widths) -> list[str]:
        """The limit that each row of ``(n, G)`` widths meets, by its metric."""
        furthest = self._excess(self.costs_by_limit(space, widths)).argmax(0)
        return [self.metrics[limit] for limit in furthest]

    def in_words(self, costs: Sequence[float]) -> str:
        """How a candidate that costs so much, by limit, keeps the limits; the binding one first."""
        excess_L = self._excess(np.array(costs)[:, None])[:, 0]
        kept = [
            f"{self.metrics[number]} {number_in_words(costs[number])} of {number_in_words(self.limits[number].target)}"
            for number in np.argsort(-excess_L)
        ]
        return f"the winner is bound by {kept[0]}" + "".join(f", and keeps {other}" for other in kept[1:])

    def holds(self, costs: Floats) -> NDArray[np.bool_]:
        """Which of :meth:`costs` lie inside."""
        return (costs >= self.low) & (costs <= self.high)

    def _excess(self, costs_Ln: Floats) -> Floats:
        """Distances from the targets, in half widths."""
        target_L, half_L = (np.array([getattr(limit, name) for limit in self.limits]) for name in ("target", "half"))
        excess: Floats = (costs_Ln - target_L[:, None]) / half_L[:, None]
        return excess

    def _cost(self, metric: str, counted: Any, widths: Widths) -> Floats:
        if metric == "latency_ms":
            assert self.latency is not None
            return np.asarray(self.latency.milliseconds(widths), dtype=np.float64)
        if metric == "file_bytes":
            assert self.file_size is not None
            return self.file_size.bytes(counted.params, widths)
        return np.asarray(getattr(counted, metric), dtype=np.float64)

    def _limit(self, space: "SearchSpace", name: str, value: float, tolerance: float) -> Limit:
        """The band around one value."""
        metric = "latency_ms" if name == "latency" else name
        dense = self._dense(space, metric)
        target = value * dense if value <= 1 and name != "latency_ms" else value
        wide, narrow = tolerance * dense, NARROW * tolerance * target
        limit = Limit(metric, target, target - wide, target + wide)
        if narrow >= wide or not space.groups:
            return limit
        step = Placement(space, replace(self, limits=(limit,))).median_step()
        half = min(wide, max(narrow, step))
        return Limit(metric, target, target - half, target + half)

    def _dense(self, space: "SearchSpace", metric: str) -> float:
        if metric == "latency_ms":
            assert self.latency is not None
            return float(self.latency.dense_ms)
        return float(self._cost(metric, space.cost(), np.array([group.channels for group in space.groups])))


def _checked(limit: Any, latency: PredictsLatency | None) -> dict[str, float]:
    """Limits by name.

    Raises:
        ParameterError: names or numbers make no sense.
    """
    if not isinstance(limit, Mapping) or not limit or not set(limit) <= set(LIMITS):
        msg = f"`budget` {limit!r}: give limits such as {{'macs': 0.5}}; known are {', '.join(LIMITS)}"
        raise ParameterError(msg)
    for name, value in limit.items():
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < math.inf:
            msg = f"`budget` {limit!r}: {name} is a share of the dense cost up to 1, or a larger number"
            raise ParameterError(msg)
    values = {str(name): float(value) for name, value in limit.items()}
    if problem := limit_problem(values):
        msg = f"`budget` {limit!r}: {problem}"
        raise ParameterError(msg)
    if {"latency", "latency_ms"} & set(values) and not isinstance(latency, PredictsLatency):
        what = "nothing" if latency is None else repr(latency)
        msg = f"`budget` {limit!r} limits milliseconds, which {what} predicts: give `latency`, such as a LatencyModel"
        raise ParameterError(msg)
    if {"latency", "latency_ms"} & set(values) and isinstance(latency, LatencyModel) and not latency.is_corrected:
        msg = (
            f"`latency` holds times of fewer than {LEAST_NETWORKS} whole networks of this architecture, and the sum of "
            "layers alone may be twice the time: make it for this network with `eyas profile`, or scale it by the "
            "dense network's own time (`dense_ms`)"
        )
        raise ParameterError(msg)
    return values
