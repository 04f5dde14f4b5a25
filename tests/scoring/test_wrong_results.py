"""Scorers and priors of one's own that give something else than they promise: told by name."""

from typing import Any, Literal

import numpy as np
import pytest
import torch

import eyas
from eyas.errors import ParameterError
from eyas.scoring.priors import Prior
from eyas.scoring.scorers import Scorer
from eyas.scoring.scorers.base import Outputs, image_scores
from tests.scoring.conftest import FUSED


class OddScorer(Scorer):
    """Gives what ``how`` names."""

    kind: Literal["odd_scorer"] = "odd_scorer"
    how: str = ""

    def __call__(self, outputs: Outputs) -> Any:
        """See the base."""
        scores = torch.linspace(0, 1, len(outputs.logits))
        odd = {"none": None, "list": scores.tolist(), "array": scores.numpy(), "mean": scores.mean()}
        return {**odd, "column": scores[:, None], "short": scores[1:], "logits": outputs.logits, "right": scores}[
            self.how
        ]


class OddPrior(Prior):
    """Gives ``rated``."""

    kind: Literal["odd_prior"] = "odd_prior"
    rated: Any = None

    def __call__(self, space: eyas.SearchSpace, widths: Any) -> Any:
        """See the base."""
        return self.rated


del Scorer.registry["odd_scorer"], Prior.registry["odd_prior"]
OUTPUTS = Outputs(torch.randn(6, 3))


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ("none", "a NoneType"), ("list", "a list"), ("array", "a ndarray"), ("mean", r"shape \(\)"),
        ("column", r"shape \(6, 1\)"), ("short", r"shape \(5,\)"), ("logits", r"shape \(6, 3\)"),
    ],
)  # fmt: skip
def test_a_scorer_gives_one_number_per_image(how, what):
    with pytest.raises(ParameterError, match=rf"`scorer` odd_scorer gives {what} for 6 images: .* a tensor \(6,\)"):
        image_scores(OddScorer(how=how), OUTPUTS)


def test_a_race_tells_it_and_takes_what_is_right(scene):
    """A column of scores was broadcast to all pairs of images, whose mean is that of the scores."""
    with pytest.raises(ParameterError, match=r"`scorer` odd_scorer gives shape \(240, 1\) for 240 images"):
        scene.score(scorer=OddScorer(how="column"), rungs=FUSED)
    assert scene.score(scorer=OddScorer(how="right"), rungs=FUSED).score.tolist() == pytest.approx([0.5] * 24)


@pytest.mark.parametrize(
    ("rated", "what"),
    [
        (None, "a NoneType"),
        (0.5, "a float"),
        ([0.5], "a list"),
        (np.ones(2), r"\[1. 1.\]"),
        (np.array([np.nan]), "nan"),
    ],
)
def test_a_prior_gives_one_finite_number_per_candidate(scene, rated, what):
    with pytest.raises(ParameterError, match=f"`prior` odd_prior gives .*{what}.* for one candidate"):
        scene.score(prior=OddPrior(rated=rated), rungs=FUSED)
