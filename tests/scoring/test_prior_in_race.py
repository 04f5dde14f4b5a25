"""A prior in the race: added to what ranks, and to nothing else."""

import numpy as np
import pytest

from eyas.errors import ParameterError
from eyas.scoring.priors import Prior
from tests.scoring.conftest import FUSED, RACE, columns

PRIOR = Prior.parse({"kind": "log_widths", "weight": 0.3})


def test_it_is_added_to_the_score_and_to_nothing_else(scene):
    plain, with_prior = scene.score(rungs=FUSED), scene.score(rungs=FUSED, prior=PRIOR)
    credit = 0.3 * PRIOR(scene.space, scene.plans.widths)
    np.testing.assert_allclose(with_prior.score, plain.score + credit, rtol=1e-12)
    for name in ("accuracy", "cross_entropy", "standard_error", "images", "rung"):
        np.testing.assert_array_equal(getattr(with_prior, name), getattr(plain, name))
    assert with_prior.rank[np.argsort(-with_prior.score)].tolist() == list(range(1, len(scene.plans) + 1))


def test_pairs_are_compared_with_it(scene):
    """The leader's margin is that of scores with the prior."""
    heavy = Prior.parse({"kind": "log_widths", "weight": 1000.0})
    table = scene.score(rungs=RACE, prior=heavy)
    assert table.winner == heavy(scene.space, scene.plans.widths).argmax()
    assert table.diagnostics["decided_early"]


def test_workers_and_a_journal_have_it_too(scene, tmp_path):
    alone = columns(scene.score(rungs=RACE, prior=PRIOR, threads=1))
    how = {"rungs": RACE, "prior": PRIOR, "journal": tmp_path / "j", "threads": 1}
    assert columns(scene.score(**how, workers=2)) == alone
    assert columns(scene.score(**how)) == alone


def test_it_is_told_beside_the_scores(scene):
    table = scene.score(scene.plans[:3], rungs=FUSED, prior="narrowest_layer")
    assert table.settings["prior"] == {"kind": "narrowest_layer", "weight": 1.0}
    assert "prior" not in scene.score(scene.plans[:3], rungs=FUSED).settings


@pytest.mark.parametrize("value", ["wide", {"kind": "log_widths", "weight": -1}])
def test_a_prior_that_does_not_exist_is_refused(scene, value):
    with pytest.raises(ParameterError, match="prior"):
        scene.score(rungs=FUSED, prior=value)
