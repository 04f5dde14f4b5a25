"""Priors against their formulas, and their contract; every member of the family is picked up."""

import numpy as np
import pytest
import torch

import eyas
import models
from eyas.scoring.priors import Prior
from eyas.scoring.priors.spectral_capacity import log_det_expected

KINDS = sorted(Prior.registry)


@pytest.fixture(scope="module")
def space():
    torch.manual_seed(0)
    return eyas.trace(models.build("resnet8", 10, width=16).eval(), (torch.randn(2, 3, 16, 16),))


@pytest.fixture(scope="module")
def widths(space):
    """Random candidates, the dense one last."""
    rng = np.random.default_rng(0)
    rows = np.stack([rng.integers(1, group.channels + 1, 30) for group in space.groups], 1)
    return np.vstack([rows, [list(space.widths.values())]])


@pytest.mark.parametrize("kind", KINDS)
def test_is_finite_and_rates_every_candidate_for_itself(kind, space, widths):
    prior = Prior.parse(kind)
    rated = prior(space, widths)
    assert rated.shape == (len(widths),)
    assert np.isfinite(rated).all()
    np.testing.assert_allclose(prior(space, widths[::-1])[::-1], rated, rtol=1e-12)
    np.testing.assert_allclose([prior(space, row[None])[0] for row in widths], rated, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_channel_more_never_lowers_it(kind, space, widths):
    prior, steps = Prior.parse(kind), np.eye(len(space.groups), dtype=np.int64)
    for step in steps:
        wider = np.minimum(widths + step, widths[-1])
        assert (prior(space, wider) >= prior(space, widths) - 1e-9).all()
    assert prior(space, widths).argmax() == len(widths) - 1


@pytest.mark.parametrize("kind", KINDS)
def test_looks_at_no_weights(kind, space, widths):
    before = Prior.parse(kind)(space, widths)
    kept = {name: value.clone() for name, value in space.model.state_dict().items()}
    with torch.no_grad():
        for weight in space.model.parameters():
            weight.normal_()
    np.testing.assert_array_equal(Prior.parse(kind)(space, widths), before)
    space.model.load_state_dict(kept)


@pytest.mark.parametrize("kind", ["log_widths", "narrowest_layer", "spectral_capacity"])
def test_is_concave(kind, space, widths):
    """Half way between two candidates it is no lower than between their values."""
    prior, ends = Prior.parse(kind), widths[: len(widths) // 2 * 2].reshape(2, -1, widths.shape[1])
    even = [end // 2 * 2 + 2 for end in ends]
    middle = prior(space, (even[0] + even[1]) // 2)
    assert (middle >= (prior(space, even[0]) + prior(space, even[1])) / 2 - 1e-9).all()


def test_widths_by_hand(space):
    dense = np.array([list(space.widths.values())])
    half = dense // 2
    half[0, 1] = dense[0, 1] // 4
    groups = len(space.groups)
    assert Prior.parse("log_widths")(space, half)[0] == pytest.approx(-(groups + 1) * np.log(2))
    assert Prior.parse("narrowest_layer")(space, half)[0] == 0.25
    assert Prior.parse("log_widths")(space, dense)[0] == 0


@pytest.mark.parametrize(("rows", "columns"), [(60, 500), (300, 200), (200, 200)])
def test_the_closed_form_is_the_mean_of_random_matrices(rows, columns):
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(20, rows, columns)) * np.sqrt(2 / columns)
    singular = np.linalg.svd(weights, compute_uv=False)
    expected = np.log1p(singular**2).sum(1).mean()
    assert log_det_expected(np.array([float(rows)]), np.array([float(columns)]))[0] == pytest.approx(expected, rel=3e-3)


def test_spectral_capacity_has_the_shapes_of_the_pruned_network(space, widths):
    for row in widths[:5]:
        small = eyas.prune(space.model, space, space.plan(row))
        shapes = [weight.flatten(1).shape for weight in small.parameters() if weight.ndim > 1]
        rows, columns = np.array(shapes, float).T
        expected = log_det_expected(rows, columns).sum()
        assert Prior.parse("spectral_capacity")(space, row[None])[0] == pytest.approx(expected)


def test_a_block_that_is_left_out_adds_nothing(space):
    deep = eyas.trace(space.model, space.example[0], depth=True)
    short = deep.vector({"layer1.0.conv1": 0})[None]
    small = eyas.prune(deep.model, deep, deep.plan(short[0]))
    expected = Prior.parse("spectral_capacity")(left := eyas.trace(small, space.example[0]), left.vector(None)[None])
    assert Prior.parse("spectral_capacity")(deep, short) == pytest.approx(expected)
    assert Prior.parse("log_widths")(deep, short) == 0
    assert Prior.parse("narrowest_layer")(deep, short) == 1
