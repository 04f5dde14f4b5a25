"""Which alias a new version gets: no budget takes another one's."""

from collections.abc import Mapping

import pytest

from eyas.operations.tracking import MlflowStore, model_registry
from eyas.operations.tracking.candidate_alias import CandidateAlias, budget_words
from eyas.operations.tracking.publish import register_version

HALF, QUARTER = {"macs": 0.5}, {"macs": 0.25}


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        (QUARTER, "candidate-macs-25"),
        ({"macs": 0.125}, "candidate-macs-12_5"),
        ({"macs": 20_000_000.0}, "candidate-macs-20000000"),
        ({"latency_ms": 0.8}, "candidate-latency_ms-0_8"),
        ({"macs": 0.07, "params": 0.57}, "candidate-macs-7-params-57"),
    ],
)
def test_a_budget_in_letters_that_an_alias_may_have(limits: Mapping[str, float], name: str) -> None:
    from mlflow.utils.validation import _validate_model_alias_name

    alias = CandidateAlias("default", limits).beside
    assert alias == name
    _validate_model_alias_name(alias)


def test_another_budget_stands_beside_the_candidate(store: MlflowStore, make_export, make_lineage) -> None:
    def enter(alias: CandidateAlias, key: str) -> str:
        lineage = make_lineage({"export": key * 64}, profile=alias.profile)
        version = register_version(store, "budgets", make_export(1), lineage, shape=(1, 8, 8), alias=alias)
        assert alias.name_in(store, "budgets") in model_registry.list_aliases(store, "budgets")
        assert alias.version_in(store, "budgets") == version
        return version.number

    def aliases() -> dict[str, str]:
        return model_registry.list_aliases(store, "budgets")

    assert CandidateAlias("quarter", QUARTER).version_in(store, "budgets") is None
    assert enter(CandidateAlias("default", HALF), "1") == "1"
    assert enter(CandidateAlias("quarter", QUARTER), "2") == "2"
    assert aliases() == {"candidate": "1", "candidate-macs-25": "2"}
    enter(CandidateAlias("other seed", HALF), "3")
    assert aliases() == {"candidate": "3", "candidate-macs-25": "2"}
    enter(CandidateAlias("other seed", {"macs": 0.4}), "4")
    assert aliases() == {"candidate": "4", "candidate-macs-25": "2"}, "a profile goes on where its budget changed"
    enter(CandidateAlias("default", HALF), "5")
    assert aliases() == {"candidate": "4", "candidate-macs-25": "2", "candidate-macs-50": "5"}
    model_registry.drop_alias(store, "budgets", "candidate")  # as a rollback does
    assert CandidateAlias("quarter", QUARTER).name_in(store, "budgets") == "candidate-macs-25"
    assert CandidateAlias("new", {"macs": 0.3}).name_in(store, "budgets") == "candidate"
    enter(CandidateAlias("quarter", QUARTER, asked="candidate"), "6")
    assert aliases() == {"candidate": "6", "candidate-macs-25": "2", "candidate-macs-50": "5"}
    assert budget_words(model_registry.named_version(store, "budgets", "candidate")) == "macs=0.25"
    assert model_registry.named_version(store, "budgets", "5").number == "5"


def test_a_version_that_tells_no_budget_is_anyones(store: MlflowStore, make_export, make_lineage) -> None:
    register_version(store, "untold", make_export(1), make_lineage({"export": "1" * 64}), shape=(1, 8, 8))
    assert CandidateAlias("quarter", QUARTER).name_in(store, "untold") == "candidate"


def test_what_no_version_is_called_is_told_with_what_there_is(store: MlflowStore, make_export, make_lineage) -> None:
    from eyas.errors import BadInputError

    register_version(store, "named", make_export(2), make_lineage({"export": "1" * 64}), shape=(1, 8, 8))
    with pytest.raises(BadInputError, match="no version champion: give a number or an alias; its aliases: candidate"):
        model_registry.named_version(store, "named", "champion")
    assert model_registry.list_aliases(store, "never-registered") == {}
