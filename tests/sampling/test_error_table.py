"""The error table: what single groups do to the answers, held against networks pruned and run by hand."""

import copy
import logging

import numpy as np
import pytest
import torch

import eyas
from eyas.errors import DataError, ParameterError
from eyas.pruning.criteria import Criterion
from eyas.recovery.least_squares import LeastSquares
from eyas.sampling.budget import Budget
from eyas.sampling.error_table import ErrorTable, measure_errors
from eyas.sampling.placement import Placement
from tests.sampling.spaces import Chain, error_table
from tests.scoring.networks import Deep, trained


@pytest.fixture(scope="module")
def scene():
    model, images, _ = trained(factory=Deep)
    space = eyas.trace(model, (images[:2],))
    return model, space, space.planner(Criterion.parse("l1_norm")), images[:96]


def answers(model, images):
    """Under the statistics of the images, as in training; without dropout."""
    model = copy.deepcopy(model).train()
    model.drop.eval()
    with torch.no_grad():
        return model(images)


def error(scene, widths):
    """Relative squared distance of the answers, by hand."""
    model, space, planner, images = scene
    dense = answers(model, images)
    small = answers(eyas.prune(model, space, planner(widths)), images)
    return float((small - dense).square().sum() / (dense - dense.mean(0)).square().sum())


def test_it_holds_the_distance_of_answers_by_group_and_width(scene):
    model, space, planner, images = scene
    before = {name: value.clone() for name, value in model.state_dict().items()}
    table = measure_errors(model, space, planner, images, levels=4)
    for group, widths, errors in zip(space.groups, table.widths, table.errors, strict=True):
        assert (widths[0], widths[-1], len(widths)) == (1, group.channels, 4)
        assert errors[-1] == 0
        for width, told in zip(widths[:-1], errors[:-1], strict=True):
            assert told == pytest.approx(error(scene, {group.name: width}), rel=1e-3)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_refits_that_were_undone_are_told_once_with_their_layers(scene, monkeypatch, caplog):
    model, space, planner, images = scene
    monkeypatch.setattr(LeastSquares, "__call__", lambda self, layer: -0.9 * layer.weight)
    measure_errors(model, space, planner, images[:32], levels=3, refitted=True)
    (message,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert message.startswith("the refit of ")
    assert "is undone in some of the networks that the error table is measured on" in message
    assert "more calibration images" in message


def test_errors_of_several_groups_are_nearly_their_sum(scene):
    """Moderate widths: what makes a sum of curves worth minimising (arXiv:2308.10438, figure 2)."""
    model, space, planner, images = scene
    channels = np.array([group.channels for group in space.groups])
    curves = measure_errors(model, space, planner, images, levels=14).curves(
        Placement(space, Budget.of(space, "macs", 0.5))
    )
    rng = np.random.default_rng(0)
    rows = np.ceil(rng.uniform(0.6, 1, (24, len(channels))) * channels).astype(int)
    summed = [sum(curve[width - 1] for curve, width in zip(curves, row, strict=True)) for row in rows]
    joint = [error(scene, row) for row in rows]
    assert np.corrcoef(summed, joint)[0, 1] ** 2 > 0.8


def test_a_refit_leaves_less_of_the_error(scene):
    model, space, planner, images = scene
    plain, refitted = (measure_errors(model, space, planner, images, levels=3, refitted=told) for told in (False, True))
    pairs = [(a, b) for rows in zip(plain.errors, refitted.errors, strict=True) for a, b in zip(*rows, strict=True)]
    assert sum(b for _, b in pairs) < 0.9 * sum(a for a, _ in pairs)


def test_curves_are_straight_between_what_was_measured_and_never_rise():
    space = Chain([5], side=2)
    table = ErrorTable.from_json({"widths": [[1, 3, 5]], "errors": [[0.2, 0.4, 0]]})
    (curve,) = table.curves(Placement(space, Budget.of(space, "macs", 0.5, 0.2)))
    assert curve.tolist() == pytest.approx([0.4, 0.4, 0.4, 0.2, 0])


def test_it_is_the_same_after_writing_and_reading_and_told_apart_by_its_digest():
    table = error_table(Chain([8, 12]))
    assert ErrorTable.from_json(table.to_json()) == table
    other = ErrorTable(table.widths, (table.errors[0], tuple(2 * told for told in table.errors[1])))
    assert table.digest == error_table(Chain([8, 12])).digest != other.digest


@pytest.mark.parametrize(
    "content",
    [b"{", [], {"widths": [[1, 2]]}, {"widths": [[1, 2]], "errors": [[float("nan"), 0]]},
     {"widths": [[1, 2]], "errors": [[0.1]]}, {"widths": [[]], "errors": [[]]}],
)  # fmt: skip
def test_what_is_no_table_is_refused(content):
    with pytest.raises(DataError, match="no error table"):
        ErrorTable.from_json(content)


def test_a_table_of_another_space_is_refused():
    space = Chain([8, 12, 16], side=8)
    with pytest.raises(DataError, match="another search space"):
        error_table(Chain([8, 12, 20])).curves(Placement(space, Budget.of(space, "macs", 0.5)))


def test_too_few_images_and_equal_answers_are_refused(scene):
    model, space, planner, images = scene
    with pytest.raises(ParameterError, match="1 `images` and 9 `levels`"):
        measure_errors(model, space, planner, images[:1])
    with pytest.raises(DataError, match="every image alike"):
        measure_errors(model, space, planner, images[:1].expand(8, -1, -1, -1))
