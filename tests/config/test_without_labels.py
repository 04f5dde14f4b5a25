"""What parameters may ask of unlabelled images, and what is refused before anything runs."""

from typing import Any

import pytest

from eyas.config import parse_params
from eyas.errors import ParameterError
from eyas.scoring.scorers import Scorer

GOOD: dict[str, Any] = {"fetch": {"train": "images", "task": "unlabelled"}, "baseline": {"checkpoint": "dense.pt"}}
WITH_TEST = {"train": "images", "test": "labelled", "task": {"kind": "unlabelled", "labelled_test": True}}


def test_a_folder_and_a_checkpoint_are_enough() -> None:
    params = parse_params(GOOD)
    recipe = params.finetune.recipe.without_labels()
    assert recipe.distillation.alpha == 1  # type: ignore[attr-defined]


def test_a_labelled_test_set_is_taken() -> None:
    assert parse_params({**GOOD, "fetch": WITH_TEST}).fetch.task.of_part("test").labelled


@pytest.mark.parametrize(
    ("section", "content", "words"),
    [
        ("baseline", {}, "baseline.checkpoint: fetch.task is unlabelled: there is nothing to train a network with"),
        ("baseline", {"checkpoint": "a.pt", "adapt_epochs": 2}, "baseline.adapt_epochs: .* adapted by labels"),
        ("score", {"scorer": "cross_entropy"}, "score.scorer: .* cross_entropy reads labels; these do not: dense_kl"),
        ("score", {"scorer": "top1"}, "score.scorer: .* top1 reads labels"),
        (
            "sample",
            {"criterion": {"kind": "taylor", "labels": True}},
            "sample.criterion: .*taylor with labels: true reads",
        ),
        (
            "sample",
            {"sampler": {"kind": "learned_thresholds", "labels": True}},
            "sample.sampler: .*learned_thresholds with labels: true reads labels; leave labels out",
        ),
        (
            "finetune",
            {"gradual": {"cuts": 2, "criterion": {"kind": "diagonal_fisher", "labels": True}}},
            "finetune.gradual.criterion: .*diagonal_fisher with labels: true reads labels; leave labels out",
        ),
        ("finetune", {"recipe": {"kind": "sgd", "distillation": None}}, "finetune.recipe: .*`distillation` is null"),
        ("finetune", {"recipe": {"kind": "sgd", "distillation": {"alpha": 0.9}}}, "finetune.recipe: .*give alpha 1"),
        ("fetch", {**WITH_TEST, "test": "included"}, "fetch.test: .*labelled_test speaks of a test set with labels"),
    ],
)
def test_what_needs_labels_is_refused_by_its_field(section: str, content: dict[str, Any], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        parse_params({**GOOD, section: content})


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(ParameterError) as caught:
        parse_params({**GOOD, "baseline": {}, "score": {"scorer": "top1"}})
    assert {"baseline.checkpoint", "score.scorer"} <= {
        line.split(":")[0].strip() for line in str(caught.value).split("\n")
    }


@pytest.mark.parametrize("kind", [kind for kind, member in Scorer.members().items() if not member.needs_labels])
def test_scorers_that_compare_with_the_dense_network_are_taken(kind: str) -> None:
    assert parse_params({**GOOD, "score": {"scorer": kind}}).score.scorer.kind == kind  # type: ignore[union-attr]


def test_a_recipe_that_is_not_used_may_need_labels() -> None:
    params = parse_params({**GOOD, "finetune": {"epochs": 0, "recipe": {"kind": "sgd", "distillation": None}}})
    assert params.finetune.recipe.distillation is None  # type: ignore[attr-defined]


def test_a_checkpoint_that_may_have_seen_a_labelled_test_set_is_held_to_the_same() -> None:
    with pytest.raises(ParameterError, match=r"fetch.test"):
        parse_params({**GOOD, "fetch": {**WITH_TEST, "test": None}})
