from pathlib import Path

import pytest

from eyas.errors import BadInputError, BusyError, RefusedError
from eyas.operations.tracking import MlflowStore, model_registry, promotion, start_pipeline
from eyas.operations.tracking.publish import register_version
from eyas.operations.tracking.status import read_status


@pytest.fixture
def versions(
    store: MlflowStore, make_export, make_lineage, request: pytest.FixtureRequest
) -> list[model_registry.Version]:
    """Three versions of a model of its own."""
    name = request.node.name.replace("[", "-").rstrip("]")
    export = make_export(1)
    lineages = [make_lineage({"export": f"{number}"}) for number in range(3)]
    return [register_version(store, name, export, lineage, shape=(1, 8, 8)) for lineage in lineages]


def aliases(store: MlflowStore, name: str) -> dict[str, str]:
    """As MLflow itself tells them."""
    return {alias: str(number) for alias, number in store.client.get_registered_model(name).aliases.items()}


def decision(outcome: str = "promoted", **facts: object) -> dict[str, object]:
    known = {"outcome": outcome, "message": f"{outcome} for a reason", "champion": None, "forced": ""}
    return known | {"gates": [], "numbers": {"accuracy": 0.5}} | facts


def promote(store: MlflowStore, version: model_registry.Version) -> str:
    expected = model_registry.get_alias(store, version.name, "champion")
    return promotion.promote(store, version, expected, decision())


def test_champion_moves_and_the_old_one_is_kept(store: MlflowStore, versions: list[model_registry.Version]) -> None:
    one, two, _ = versions
    promote(store, one)
    assert aliases(store, one.name) == {"champion": "1", "candidate": "3"}
    run_id = promote(store, two)
    assert aliases(store, one.name) == {"champion": "2", "previous": "1", "candidate": "3"}
    run = store.client.get_run(run_id)
    assert (run.info.status, run.data.tags["eyas.outcome"]) == ("FINISHED", "promoted")
    assert run.info.experiment_id == store.promotions != store.experiment_id
    tags = model_registry.get_version(store, one.name, 2).tags
    assert (tags["eyas.outcome"], tags["eyas.decision_run"]) == ("promoted", run_id)


def test_champion_that_changed_meanwhile_is_not_overwritten(
    store: MlflowStore, versions: list[model_registry.Version]
) -> None:
    one, two, three = versions
    promote(store, one)
    promote(store, two)
    with pytest.raises(BusyError, match="became version 2 while the promotion to version 3 was made against 1"):
        promotion.promote(store, three, one, decision())
    assert aliases(store, one.name)["champion"] == "2"
    last = read_status(store, one.name).runs[0]
    assert (last.name, last.status) == (f"promotion-{one.name}-3", "failed")
    assert "became version 2" in last.why
    assert "eyas.outcome" not in model_registry.get_version(store, one.name, 3).tags


def test_rollback_goes_back_step_by_step_and_then_refuses(
    store: MlflowStore, versions: list[model_registry.Version]
) -> None:
    name = versions[0].name
    for version in versions:
        promote(store, version)
    move, resumed = promotion.roll_back(store, name, "too slow")
    assert (move.champion, move.before, resumed) == ("2", "3", False)
    assert aliases(store, name) == {"champion": "2", "previous": "1"}, "what was rolled back is no candidate"
    assert "too slow" in model_registry.get_version(store, name, 3).tags[promotion.ROLLED_BACK]
    last = read_status(store, name).runs[0]
    assert (last.kind, last.status, last.why) == ("rollback", "rolled_back", "from version 3 to version 2: too slow")
    promotion.roll_back(store, name)
    assert aliases(store, name) == {"champion": "1"}
    last = read_status(store, name).runs[0]
    assert last.why == "from version 2 to version 1: no reason was given"
    assert store.client.get_run(last.run_id).data.tags["mlflow.note.content"] == last.why
    with pytest.raises(RefusedError, match=r"no previous champion to go back to \(champion: version 1\)"):
        promotion.roll_back(store, name)


def test_what_was_rolled_back_does_not_become_previous_again(
    store: MlflowStore, versions: list[model_registry.Version]
) -> None:
    one, two, three = versions
    promote(store, one)
    promote(store, two)
    promotion.roll_back(store, one.name)
    promote(store, three)
    assert aliases(store, one.name)["previous"] == "1"
    promotion.roll_back(store, one.name)
    assert aliases(store, one.name) == {"champion": "1"}
    with pytest.raises(BadInputError, match="has no candidate, no version with alias 'candidate': run the pipeline"):
        promotion.requested_version(store, one.name, None)


def test_where_candidates_of_other_budgets_wait_they_are_named(
    store: MlflowStore, versions: list[model_registry.Version]
) -> None:
    one, two, _ = versions
    model_registry.set_alias(store, one.name, "candidate-macs-25", two.number)
    store.client.delete_registered_model_alias(one.name, "candidate")
    with pytest.raises(BadInputError, match=r"alias 'candidate': give --version 2 \(candidate-macs-25\)$"):
        promotion.requested_version(store, one.name, None)


def test_a_version_that_was_rolled_back_and_has_the_alias_all_the_same_is_no_candidate(
    store: MlflowStore, versions: list[model_registry.Version]
) -> None:
    """A run that changes nothing finds the version and names it again."""
    one, two, _ = versions
    promote(store, one)
    promote(store, two)
    promotion.roll_back(store, one.name)
    assert promotion.requested_version(store, one.name, None).number == "3"
    model_registry.set_alias(store, one.name, "candidate", "2")
    with pytest.raises(BadInputError, match="has no candidate, version 2, which has the alias 'candidate', was rolled"):
        promotion.requested_version(store, one.name, None)
    assert promotion.requested_version(store, one.name, "2").number == "2"


def test_going_back_and_forth_never_restores_what_is_left(
    store: MlflowStore, versions: list[model_registry.Version]
) -> None:
    one, two, _ = versions
    for version in (one, two, one):
        promote(store, version)
    promotion.roll_back(store, one.name)
    assert aliases(store, one.name) == {"champion": "2", "candidate": "3"}


def test_what_was_rolled_back_returns_without_its_mark(
    store: MlflowStore, versions: list[model_registry.Version]
) -> None:
    one, two, _ = versions
    promote(store, one)
    promote(store, two)
    promotion.roll_back(store, one.name)
    promote(store, model_registry.get_version(store, one.name, 2))
    assert promotion.ROLLED_BACK not in model_registry.get_version(store, one.name, 2).tags


def test_refusal_is_tag_and_artifact_and_seen_in_status(
    store: MlflowStore, versions: list[model_registry.Version], tmp_path: Path
) -> None:
    version = versions[0]
    gate = {"name": "drop", "value": 0.2, "limit": 0.05, "passed": False, "reason": "loss 0.2: at most 0.05"}
    run_id = promotion.record_refusal(store, version, decision("refused", message="refused: loss", gates=[gate]))
    status = read_status(store, version.name)
    assert (status.champion, status.candidate.number) == (None, "3")  # type: ignore[union-attr]
    assert (status.runs[0].run_id, status.runs[0].status, status.runs[0].why) == (run_id, "refused", "refused: loss")
    assert model_registry.get_version(store, version.name, 1).tags["eyas.outcome"] == "refused"
    assert '"limit": 0.05' in Path(store.client.download_artifacts(run_id, "decision.json", str(tmp_path))).read_text()


def test_status_is_that_of_one_model(store: MlflowStore, versions: list[model_registry.Version]) -> None:
    name = versions[0].name
    promote(store, versions[0])
    tags = {"eyas.kind": "pipeline", "eyas.model": "another"}
    start_pipeline(store, "another-profile", tags=tags)
    start_pipeline(store, "this-profile", tags=tags | {"eyas.model": name})
    assert [run.name for run in read_status(store, name).runs] == ["this-profile", f"promotion-{name}-1"]
    assert [run.name for run in read_status(store, "another").runs] == ["another-profile"]


def test_without_candidate_a_number_must_be_given(store: MlflowStore, versions: list[model_registry.Version]) -> None:
    assert promotion.requested_version(store, versions[0].name, None).number == "3"
    assert promotion.requested_version(store, versions[0].name, "2").number == "2"
    with pytest.raises(BadInputError, match="--version"):
        promotion.requested_version(store, "never-registered", None)
