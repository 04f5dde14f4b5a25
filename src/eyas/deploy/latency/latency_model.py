"""Milliseconds of candidates from a table of layers: a sum, corrected by a line through whole networks.

Shapes: n candidates, G channel groups in the order of ``space.groups``.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eyas.deploy.latency.latency_table import LatencyTable, LayerTimes
from eyas.deploy.latency.priced_layers import Ints, PricedLayer, WidthForm, network_key, priced_layers
from eyas.deploy.latency.width_grid import Axis
from eyas.errors import DataError, ParameterError
from eyas.pruning.space import SearchSpace

Floats = NDArray[np.float64]
log = logging.getLogger(__name__)
_AGAIN = "make it for this network with `eyas profile`"
LEAST_NETWORKS = 3
"""Through fewer no line is laid."""
LEAST_SHARE = 0.05
"""Of the sum: far below the measured networks a line with a negative offset would leave no time at all."""


@dataclass(frozen=True)
class Fit:
    """The line from the sum of the layers to the time of the network, and how well both told it."""

    n: int
    """Networks that were measured whole."""
    offset: float
    """Milliseconds."""
    slope: float
    residual: float
    """Median of |line - measured| / measured."""
    worst: float
    """The largest of these."""
    residual_of_sum: float
    """The median without the line."""
    rank_correlation: float
    """Spearman's, between sum and measured time."""


class LatencyModel:
    """Predicts the time of any widths of a search space.

    Args:
        space: the search space.
        table: its layers, measured.
        dense_ms: time of the dense network where the prediction is wanted for, such as another machine: everything is
            scaled by it.

    Raises:
        DataError: the table lacks a layer, or widths of one; names the layer.
        ParameterError: ``dense_ms`` is no positive number.
    """

    def __init__(self, space: SearchSpace, table: LatencyTable, *, dense_ms: float | None = None) -> None:
        if dense_ms is not None and not 0 < dense_ms < float("inf"):
            msg = f"`dense_ms` must be a positive number of milliseconds; given: {dense_ms}"
            raise ParameterError(msg)
        self.space, self.table = space, table
        layers = priced_layers(space)
        times = {entry.layer: entry for entry in table.entries}
        self._terms = _terms(space, layers, times)
        self.fit = self._fit(network_key(space, layers))
        """None where fewer than three networks were measured whole: the sum then stands as it is."""
        if self.fit is None and dense_ms is None:
            log.warning("the table holds no times of this whole network: the sum of its layers is not corrected")
        self._scale = 1.0
        if dense_ms is not None:
            self._scale = dense_ms / self.dense_ms
        self.is_corrected = self.fit is not None or dense_ms is not None
        """Whether whole networks, or the dense one alone, put right what the sum of the layers is off by."""

    @property
    def dense_ms(self) -> float:
        """Milliseconds of the dense network."""
        return float(self.milliseconds(self.space.legal.dense[None])[0])

    def milliseconds(self, widths_nG: ArrayLike) -> Floats:
        """Of each candidate, ``(n,)``; a run of the table's batch.

        Raises:
            PlanError: the matrix has another shape, or holds a width that the network cannot have.
        """
        sums_n = self.sums(widths_nG)
        line_n = self.fit.offset + self.fit.slope * sums_n if self.fit else sums_n
        return np.maximum(line_n, LEAST_SHARE * sums_n) * self._scale

    def sums(self, widths_nG: ArrayLike) -> Floats:
        """The layers' times added up, ``(n,)``."""
        units_nG = self.space.legal.units(widths_nG)
        gone_nB = self.space.legal.dropped(units_nG)
        units_nG = np.maximum(units_nG, 1)  # layers of a block that is left out are in the table at no width
        total_n = np.zeros(len(units_nG))
        for term, count in self._terms.items():
            times_n = count * term(units_nG)
            total_n += times_n if term.block is None else np.where(gone_nB[:, term.block], 0, times_n)
        return total_n

    def of_group(self, number: int, widths_n: Ints) -> Floats:
        """The layers that a group has part in, added up, at these widths of it and all others dense: ``(n,)``."""
        units_nG = np.tile(self.space.legal.dense // self.space.legal.steps, (len(widths_n), 1))
        units_nG[:, number] = widths_n // self.space.legal.steps[number]
        own = [(term, count) for term, count in self._terms.items() if term.reads(number)]
        return np.sum([count * term(units_nG) for term, count in own], axis=0) if own else np.zeros(len(widths_n))

    def _fit(self, key: str) -> Fit | None:
        """The line of least relative squares."""
        whole = [network for network in self.table.networks if network.space == key]
        if len(whole) < LEAST_NETWORKS:
            return None
        measured_n = np.array([network.milliseconds for network in whole])
        sums_n = self.sums(np.stack([self.space.vector(network.widths) for network in whole]))
        return fit_line(sums_n, measured_n)


def fit_line(sums_n: Floats, measured_n: Floats) -> Fit:
    """The line ``measured = offset + slope x sum`` of least relative squares; through zero where it would fall."""
    equations_n2 = np.stack([1 / measured_n, sums_n / measured_n], axis=1)
    offset, slope = np.linalg.lstsq(equations_n2, np.ones(len(sums_n)))[0].tolist()
    if slope <= 0:
        offset, slope = 0.0, float(np.median(measured_n / sums_n))
    errors_n = np.abs(offset + slope * sums_n - measured_n) / measured_n
    return Fit(
        n=len(sums_n),
        offset=offset,
        slope=slope,
        residual=float(np.median(errors_n)),
        worst=float(errors_n.max()),
        residual_of_sum=float(np.median(np.abs(sums_n - measured_n) / measured_n)),
        rank_correlation=rank_correlation(sums_n, measured_n),
    )


def rank_correlation(first_n: Floats, second_n: Floats) -> float:
    """Spearman's coefficient; equal values have the mean of their ranks."""
    centred = []
    for values_n in (first_n, second_n):
        _, inverse, counts = np.unique(values_n, return_inverse=True, return_counts=True)
        ranks_n = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
        centred.append(ranks_n - ranks_n.mean())
    spread = float(np.linalg.norm(centred[0]) * np.linalg.norm(centred[1]))
    return float(centred[0] @ centred[1]) / spread if spread else 0.0


class _Term:
    """The time of one layer as a function of the kept units; equal layers are one term."""

    def __init__(self, inputs: WidthForm, outputs: WidthForm, entry: LayerTimes, block: int | None) -> None:
        self.block = block
        """Number of the smallest residual block that it goes with."""
        self.inputs, self.outputs, self.layer = inputs, outputs, entry.layer
        self.axes = Axis(entry.inputs), Axis(entry.outputs)
        self.times = np.array(entry.milliseconds)

    def __call__(self, units_nG: Ints) -> Floats:
        """Milliseconds, ``(n,)``: bilinear between the measured widths of the same alignment."""
        (a, b), (i, o) = self.axes, (self.inputs(units_nG), self.outputs(units_nG))
        below, above = (
            self.times[row, b.below[o]] * (1 - b.share[o]) + self.times[row, b.above[o]] * b.share[o]
            for row in (a.below[i], a.above[i])
        )
        times_n: Floats = below * (1 - a.share[i]) + above * a.share[i]
        return times_n

    def reads(self, number: int) -> bool:
        """Whether a group sets one of its widths."""
        return bool(self.inputs.slope[number] or self.outputs.slope[number])


def _terms(space: SearchSpace, layers: Sequence[PricedLayer], times: Mapping[str, LayerTimes]) -> dict[_Term, int]:
    """How often each layer is called; all widths that it may have are in the table.

    Raises:
        DataError: they are not.
    """
    keys = [(str(layer.shape), layer.inputs, layer.outputs, _block(space, layer)) for layer in layers]
    counts = Counter(keys)
    names = {key: layer.name for key, layer in zip(reversed(keys), reversed(layers), strict=True)}
    dense_G = space.legal.dense // space.legal.steps
    terms = {}
    for key, count in counts.items():
        shape, inputs, outputs, block = key
        if shape not in times:
            msg = f"the table lacks layer {names[key]!r} ({shape}): {_AGAIN}"
            raise DataError(msg)
        term = _Term(inputs, outputs, times[shape], block)
        for what, form, axis in (("input", inputs, term.axes[0]), ("output", outputs, term.axes[1])):
            widths = form.reachable(dense_G)
            lacking = widths[~axis.knows(widths)]
            if len(lacking):
                msg = f"the table lacks {what} width {lacking[0]} of layer {names[key]!r} ({shape}): {_AGAIN}"
                raise DataError(msg)
        terms[term] = count
    return terms


def _block(space: SearchSpace, layer: PricedLayer) -> int | None:
    """The smallest residual block that may be left out with the layer."""
    homes = [number for number, block in enumerate(space.blocks) if layer.name in block.tensors]
    return min(homes, key=lambda number: len(space.blocks[number].tensors), default=None)
