from eyas.config import PipelineParams
from eyas.config.changed_params import changed_params


def changed(**sections: object) -> dict[str, object]:
    return changed_params(PipelineParams.model_validate(sections))


def test_defaults_are_no_news() -> None:
    assert changed() == {}
    assert changed(score={"seed": PipelineParams().score.seed}, register={}) == {}


def test_what_differs_has_a_dotted_name_and_the_alias_of_its_section() -> None:
    assert changed(
        register={"model": "mine"}, baseline={"arguments": {"width": 8}}, fetch={"train": "builtin:shapes"}
    ) == {
        "register.model": "mine",
        "baseline.arguments": {"width": 8},
        "fetch.train": "builtin:shapes",
    }


def test_a_component_is_held_against_the_defaults_of_its_own_kind() -> None:
    assert changed(score={"scorer": "top1"}) == {"score.scorer.kind": "top1"}
    assert changed(sample={"criterion": {"kind": "l1_norm"}}) == {"sample.criterion.kind": "l1_norm"}
    recipe = {"kind": "sgd", "batch_size": 7}
    assert changed(finetune={"recipe": recipe}) == {"finetune.recipe.batch_size": 7}
