from pathlib import Path

import pytest

from eyas.errors import BadInputError, BusyError, RefusedError
from eyas.tracking import Store, promotion, registry
from eyas.tracking.publish import register_version


@pytest.fixture
def versions(store: Store, make_export, make_lineage, request: pytest.FixtureRequest) -> list[registry.Version]:
    """Three versions of a model of its own."""
    name = request.node.name.replace("[", "-").rstrip("]")
    export = make_export(1)
    lineages = [make_lineage({"export": f"{number}"}) for number in range(3)]
    return [register_version(store, name, export, lineage, shape=(1, 8, 8)) for lineage in lineages]


def aliases(store: Store, name: str) -> dict[str, str]:
    found = {alias: registry.get_alias(store, name, alias) for alias in ("champion", "previous", "candidate")}
    return {alias: version.number for alias, version in found.items() if version}


def promote(store: Store, version: registry.Version) -> None:
    expected = registry.get_alias(store, version.name, "champion")
    promotion.move_champion(store, version, expected)


def test_champion_moves_and_the_old_one_is_kept(store: Store, versions: list[registry.Version]) -> None:
    one, two, _ = versions
    promote(store, one)
    assert aliases(store, one.name) == {"champion": "1", "candidate": "3"}
    promote(store, two)
    assert aliases(store, one.name) == {"champion": "2", "previous": "1", "candidate": "3"}
    promote(store, two)
    assert aliases(store, one.name) == {"champion": "2", "previous": "1", "candidate": "3"}


def test_champion_that_changed_meanwhile_is_not_overwritten(store: Store, versions: list[registry.Version]) -> None:
    one, two, three = versions
    promote(store, one)
    promote(store, two)
    with pytest.raises(BusyError, match="became version 2 while version 3 was compared with 1"):
        promotion.move_champion(store, three, one)
    assert aliases(store, one.name)["champion"] == "2"


def test_rollback_goes_back_step_by_step_and_then_refuses(store: Store, versions: list[registry.Version]) -> None:
    name = versions[0].name
    for version in versions:
        promote(store, version)
    now, gone = promotion.roll_back(store, name, "too slow")
    assert (now.number, gone.number) == ("2", "3")
    assert aliases(store, name) == {"champion": "2", "previous": "1", "candidate": "3"}
    assert "too slow" in registry.get_version(store, name, 3).tags[promotion.ROLLED_BACK]
    promotion.roll_back(store, name)
    assert aliases(store, name) == {"champion": "1", "candidate": "3"}
    with pytest.raises(RefusedError, match=r"no previous champion to go back to \(champion: version 1\)"):
        promotion.roll_back(store, name)


def test_what_was_rolled_back_does_not_become_previous_again(store: Store, versions: list[registry.Version]) -> None:
    one, two, three = versions
    promote(store, one)
    promote(store, two)
    promotion.roll_back(store, one.name)
    promote(store, three)
    assert aliases(store, one.name)["previous"] == "1"
    promotion.roll_back(store, one.name)
    assert aliases(store, one.name) == {"champion": "1", "candidate": "3"}


@pytest.mark.parametrize("steps", [1, 2])
def test_move_that_was_cut_off_leaves_a_champion_and_can_be_repeated(
    store: Store, versions: list[registry.Version], monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    one, two, three = versions
    promote(store, one)
    promote(store, two)
    done: list[str] = []

    def cut_off(store: Store, name: str, alias: str, number: str) -> None:
        if len(done) + 1 == steps:
            raise KeyboardInterrupt
        done.append(alias)
        registry.set_alias(store, name, alias, number)

    with monkeypatch.context() as patch:
        patch.setattr(promotion, "set_alias", cut_off)
        with pytest.raises(KeyboardInterrupt):
            promotion.move_champion(store, three, two)
    assert aliases(store, one.name)["champion"] == "2"
    if steps == 2:  # previous and champion are the same now; a rollback still finds the way
        now, _ = promotion.roll_back(store, one.name)
        assert now.number == "1"
    else:
        promote(store, registry.get_version(store, one.name, 3))
        assert aliases(store, one.name) == {"champion": "3", "previous": "2", "candidate": "3"}


def test_decision_is_tag_and_artifact_and_seen_in_status(
    store: Store, versions: list[registry.Version], tmp_path: Path
) -> None:
    version = versions[0]
    gate = {"name": "drop", "value": 0.2, "limit": 0.05, "passed": False, "reason": "loss 0.2: at most 0.05"}
    decision = {"outcome": "refused", "message": "refused: loss", "champion": None, "forced": "", "gates": [gate]}
    run_id = promotion.record_decision(store, version, decision | {"numbers": {"accuracy": 0.5}})
    status = promotion.read_status(store, version.name)
    assert (status.champion, status.candidate.number) == (None, "3")  # type: ignore[union-attr]
    assert (status.runs[0].run_id, status.runs[0].status, status.runs[0].why) == (run_id, "refused", "refused: loss")
    assert registry.get_version(store, version.name, 1).tags["eyas.outcome"] == "refused"
    assert '"limit": 0.05' in Path(store.client.download_artifacts(run_id, "decision.json", str(tmp_path))).read_text()


def test_without_candidate_a_number_must_be_given(store: Store, versions: list[registry.Version]) -> None:
    assert promotion.pick(store, versions[0].name, None).number == "3"
    assert promotion.pick(store, versions[0].name, "2").number == "2"
    with pytest.raises(BadInputError, match="--version"):
        promotion.pick(store, "never-registered", None)
