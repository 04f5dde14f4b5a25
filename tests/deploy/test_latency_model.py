"""What a model makes of a table whose times are known, and what it refuses."""

import math
import time

import numpy as np
import pytest
import scipy.stats
import torch

import eyas
from eyas.deploy.latency import LatencyModel
from eyas.deploy.latency.alignment import aligned_steps
from eyas.deploy.latency.latency_model import fit_line, rank_correlation
from eyas.deploy.latency.priced_layers import network_key, priced_layers
from eyas.deploy.latency.profile_plan import spread_widths
from eyas.deploy.latency.width_grid import Axis, measured_widths
from eyas.errors import DataError, ParameterError, PlanError
from eyas.pruning.space import SearchSpace
from eyas.sampling.budget import Budget
from models import build
from tests.deploy.latency_tables import bilinear, table_of


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    model = build("resnet8", 10, width=16, in_channels=1)
    return eyas.trace(model.eval(), (torch.zeros(1, 1, 8, 8),))


def summed(space: SearchSpace, rows: np.ndarray, milliseconds=bilinear, without: tuple[str, ...] = ()) -> np.ndarray:
    total = np.zeros(len(rows))
    layers = [layer for layer in priced_layers(space) if layer.name not in without]
    units = space.legal.units(rows)
    for layer in layers:
        widths = zip(layer.inputs(units).tolist(), layer.outputs(units).tolist(), strict=True)
        total += [milliseconds(str(layer.shape), i, o) for i, o in widths]
    return total


def test_times_that_are_bilinear_in_the_widths_are_predicted_exactly(space: SearchSpace) -> None:
    rows = spread_widths(space, 40, seed=1)
    assert LatencyModel(space, table_of(space)).milliseconds(rows) == pytest.approx(summed(space, rows))


def test_layers_of_a_block_that_is_left_out_take_no_time(space: SearchSpace) -> None:
    deep = eyas.trace(space.model, space.example[0], depth=True)
    rows = spread_widths(deep, 8, seed=1)
    rows[:, list(deep.blocks[0].groups)] = 0
    expected = summed(deep, rows, without=deep.blocks[0].tensors)
    assert LatencyModel(deep, table_of(space)).milliseconds(rows) == pytest.approx(expected)


def test_widths_are_read_among_those_of_their_alignment(space: SearchSpace) -> None:
    def jagged(_: str, inputs: int, outputs: int) -> float:
        return (0.01 + 1e-4 * inputs * outputs) * (1 + (outputs % 4 > 0) + 2 * (inputs % 8 > 0))

    rows = spread_widths(space, 40, seed=2)
    assert LatencyModel(space, table_of(space, jagged)).milliseconds(rows) == pytest.approx(summed(space, rows, jagged))


def test_a_hundred_thousand_candidates_take_seconds(space: SearchSpace) -> None:
    model, rows = LatencyModel(space, table_of(space)), np.tile(spread_widths(space, 100, seed=3), (1000, 1))
    start = time.perf_counter()
    assert model.milliseconds(rows).shape == (100_000,)
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("macs", [0, 1e8, 1e12])
@pytest.mark.parametrize("reachable", [[3], range(1, 65), range(49, 25089, 49), range(7, 520, 3)], ids=str)
def test_every_width_that_may_occur_can_be_read_and_a_measured_one_is_itself(reachable, macs: float) -> None:
    widths = np.array(reachable)
    points = measured_widths([widths], macs)
    axis = Axis(points)
    assert len(points) <= 33
    assert axis.knows(widths).all()
    for number, point in enumerate(points):
        exact = axis.below[point] + axis.share[point] * (axis.above[point] != axis.below[point])
        nearest = axis.above[point] if axis.share[point] == 1 else axis.below[point]
        assert (axis.share[point] in (0, 1), nearest) == (True, number), exact
    assert not axis.knows(np.array([-1, 0, widths[-1] + 1])).any()


def test_the_line_and_its_errors_are_those_of_the_measured_networks(space: SearchSpace) -> None:
    rows = spread_widths(space, 8, seed=0)
    key, sums = network_key(space, priced_layers(space)), summed(space, rows)
    whole = [
        {"space": key, "widths": dict(zip(space.widths, row.tolist(), strict=True)), "milliseconds": 0.2 + 0.5 * total}
        for row, total in zip(rows, sums, strict=True)
    ]
    model = LatencyModel(space, table_of(space, networks=whole))
    assert model.fit is not None
    assert (model.fit.n, model.fit.offset, model.fit.slope) == (8, pytest.approx(0.2), pytest.approx(0.5))
    assert model.fit.residual == pytest.approx(0, abs=1e-9)
    assert model.fit.residual_of_sum == pytest.approx(np.median(np.abs(sums / (0.2 + 0.5 * sums) - 1)))
    assert model.fit.rank_correlation == pytest.approx(1)
    assert model.milliseconds(rows) == pytest.approx(0.2 + 0.5 * sums)
    assert model.dense_ms == pytest.approx(0.2 + 0.5 * sums[0])
    others = [network | {"space": "another"} for network in whole]
    uncorrected = LatencyModel(space, table_of(space, networks=others))
    assert uncorrected.fit is None
    assert uncorrected.dense_ms == pytest.approx(sums[0])


def test_ranks_correlate_as_scipy_says_and_no_line_falls() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 10, 30).astype(float)
    second = first + rng.normal(0, 5, 30)
    assert rank_correlation(first, second) == pytest.approx(scipy.stats.spearmanr(first, second).statistic)
    assert rank_correlation(first, np.ones(30)) == 0
    falling = fit_line(np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0]))
    assert (falling.offset, falling.slope) == (0, 1)


def test_the_dense_networks_own_time_scales_a_table_of_elsewhere(space: SearchSpace) -> None:
    rows = spread_widths(space, 5, seed=4)
    here, there = LatencyModel(space, table_of(space)), LatencyModel(space, table_of(space), dense_ms=7.0)
    assert there.dense_ms == pytest.approx(7)
    assert there.milliseconds(rows) == pytest.approx(here.milliseconds(rows) * 7 / here.dense_ms)
    for wrong in (0, -1, math.nan, math.inf):
        with pytest.raises(ParameterError, match="`dense_ms` must be a positive number"):
            LatencyModel(space, table_of(space), dense_ms=wrong)


def test_a_layer_or_a_width_that_the_table_lacks_is_named(space: SearchSpace) -> None:
    table = table_of(space)
    without = table.model_copy(update={"entries": [entry for entry in table.entries if "on 2x2" not in entry.layer]})
    with pytest.raises(DataError, match=r"lacks layer 'layer3\.0\.conv2\.weight' \(conv2d 3x3 on 2x2 .*eyas profile"):
        LatencyModel(space, without)
    narrow = table_of(eyas.trace(build("resnet8", 10, width=12, in_channels=1).eval(), (torch.zeros(1, 1, 8, 8),)))
    with pytest.raises(DataError, match=r"lacks output width \d+ of layer 'conv1\.weight'"):
        LatencyModel(space, narrow)


def test_widths_that_the_network_cannot_have_are_refused(space: SearchSpace) -> None:
    with pytest.raises(PlanError, match="a width matrix has shape"):
        LatencyModel(space, table_of(space)).milliseconds([[1, 2, 3]])


def test_the_step_is_the_smallest_beyond_which_nothing_is_saved(space: SearchSpace) -> None:
    def by(block: int):
        return lambda _, inputs, outputs: (
            1e-4 * inputs * outputs * (1 if outputs % block == 0 == inputs % block else 1.5)
        )

    for block, wide, narrow in ((1, 1, 1), (4, 4, 4), (8, 8, 4), (16, 16, 4)):
        steps = aligned_steps(LatencyModel(space, table_of(space, by(block))))
        assert steps["layer3.0.conv1"] == wide
        if block <= 4:  # of 16 channels a step of 4 leaves four widths, one of 8 only two
            assert steps["layer1.0.conv1"] == narrow
        assert max(steps[group.name] * 4 / group.channels for group in space.groups) <= 1


def test_a_budget_is_not_held_against_an_uncorrected_sum(space: SearchSpace) -> None:
    """Up to twice the time of a network: limits of milliseconds would mean something else."""
    sums = table_of(space, networks=[])
    with pytest.raises(ParameterError, match="fewer than 3 whole networks.*`eyas profile`.*`dense_ms`"):
        Budget.parse(space, {"latency": 0.5}, latency=LatencyModel(space, sums))
    assert Budget.parse(space, {"macs": 0.5}, latency=LatencyModel(space, sums)).metrics == ("macs",)
    for model in (LatencyModel(space, sums, dense_ms=2.0), LatencyModel(space, table_of(space))):
        assert Budget.parse(space, {"latency": 0.5}, latency=model).target == pytest.approx(model.dense_ms / 2)
