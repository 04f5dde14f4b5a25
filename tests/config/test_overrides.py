"""``--set``: what stands beside a field stays, whatever form the file gives it."""

import pytest

from eyas.config import apply_overrides, parse_params
from eyas.config.override import parse_overrides
from eyas.errors import ParameterError

ITEM = "finetune.recipe.batch_size=16"


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ({"kind": "sgd", "learning_rate": 0.1}, {"kind": "sgd", "learning_rate": 0.1, "batch_size": 16}),
        ("sgd", {"kind": "sgd", "batch_size": 16}),
        (None, {"kind": "sgd", "batch_size": 16}),
    ],
)
@pytest.mark.parametrize("others", [{}, {"epochs": 3}])
def test_an_option_joins_the_others(recipe: object, expected: object, others: dict[str, int]) -> None:
    section = {**others, **({} if recipe is None else {"recipe": recipe})}
    before = {"finetune": dict(section)}
    result = apply_overrides(before, [ITEM])
    assert result == {"finetune": {**others, "recipe": expected}}
    assert before == {"finetune": section}
    assert parse_params(result).finetune.recipe.batch_size == 16


def test_sections_that_are_left_out_or_empty_take_their_defaults() -> None:
    for content in ({}, {"finetune": None}, {"finetune": {}}):
        assert apply_overrides(content, [ITEM]) == {"finetune": {"recipe": {"kind": "sgd", "batch_size": 16}}}


def test_two_options_join_and_a_kind_replaces() -> None:
    items = ["sample.sampler.kind=budget", "sample.sampler.floor=0.2", ITEM, "finetune.recipe.optimizer=adamw"]
    result = apply_overrides({"sample": {"sampler": "evolution"}}, items)
    assert result["sample"] == {"sampler": {"kind": "budget", "floor": 0.2}}
    assert result["finetune"]["recipe"] == {"kind": "sgd", "batch_size": 16, "optimizer": "adamw"}
    assert apply_overrides({"finetune": {"recipe": {"kind": "sgd"}}}, ["finetune.recipe=sgd"]) == {
        "finetune": {"recipe": "sgd"}
    }


def test_fields_of_what_is_no_component_and_of_components_inside() -> None:
    items = [
        "finetune.gradual.criterion.images=64",
        "finetune.recipe.distillation.alpha=0.5",
        "sample.budget.macs=0.25",
    ]
    result = apply_overrides({"sample": {"budget": {"params": 0.5}}}, items)
    assert result["finetune"]["gradual"] == {"criterion": {"kind": "weight_activation", "images": 64}}
    assert result["sample"]["budget"] == {"params": 0.5, "macs": 0.25}
    params = parse_params(result)
    assert params.finetune.recipe.distillation.alpha == 0.5  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (
            "finetune.recipee.batch_size=16",
            r"finetune.recipee: no such parameter \(did you mean 'recipe'\?\); finetune",
        ),
        (
            "finetune.recipe.batchsize=16",
            r"finetune.recipe.batchsize: no such parameter \(did you mean 'batch_size'\?\)",
        ),
        (
            "fintune.recipe.batch_size=16",
            r"fintune: no such parameter \(did you mean 'finetune'\?\); sections are fetch",
        ),
        (
            "finetune.recipe.kind=sdg",
            r"unknown recipe kind 'sdg' .* \(did you mean 'sgd'\?\); available: cosub, custom, sandwich, sgd",
        ),
    ],
)
def test_a_wrong_name_brings_the_nearest(item: str, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        parse_params(apply_overrides({}, [item]))


@pytest.mark.parametrize(
    ("content", "item", "words"),
    [
        (
            {"score": {"rungs": [{"images": 64}]}},
            "score.rungs.images=128",
            r"score.rungs is \[\{'images': 64\}\] and has",
        ),
        (
            {"fetch": {"train": "data"}},
            "fetch.train.path=x",
            "fetch.train is 'data' and has no fields: replace it whole",
        ),
        ({"sample": 3}, "sample.seed=1", "sample is 3 and has no fields"),
    ],
)
def test_what_has_no_fields_is_not_replaced_silently(content: dict[str, object], item: str, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        apply_overrides(content, [item])


def test_a_wrong_value_is_told_as_the_options_that_brought_it() -> None:
    content = {"score": {"seed": -1}}
    items = ["sample.budget.macs=-1", "fetch.train=https://me:word@host/x"]
    with pytest.raises(ParameterError) as told:
        parse_params(apply_overrides(content, items), "mine.yaml", parse_overrides(items))
    lines = str(told.value).splitlines()
    assert any(line.startswith("--set sample.budget.macs=-1: Input should be greater than 0") for line in lines)
    assert lines[-2] == "mine.yaml:"
    assert lines[-1].startswith("  score.seed: Input should be greater than or equal to 0")
    assert "me:word" not in str(told.value)


def test_a_fault_of_a_whole_section_names_the_option_within_it() -> None:
    items = ["sample.budget.macs=1"]
    with pytest.raises(
        ParameterError, match=r"^mine.yaml with --set sample.budget.macs=1: sample.budget: macs 1 is all that"
    ):
        parse_params(apply_overrides({}, items), "mine.yaml", parse_overrides(items))


def test_a_name_that_there_is_not_is_the_options_alone() -> None:
    items = ["smple.x=1", "finetune.recipe.bach_size=8"]
    with pytest.raises(ParameterError) as told:
        parse_params(apply_overrides({}, items), "mine.yaml", parse_overrides(items))
    first, second = sorted(str(told.value).splitlines(), reverse=True)
    assert first.startswith("--set smple.x=1: smple: no such parameter (did you mean 'sample'?)")
    assert second.startswith("--set finetune.recipe.bach_size=8: no such parameter (did you mean 'batch_size'?)")
