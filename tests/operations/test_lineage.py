"""Where a model came from: the commit, and whether the checkout held more than it."""

import subprocess
from pathlib import Path

import pytest

from eyas.errors import BadInputError
from eyas.operations.lineage import Lineage, git_state, has_commit
from eyas.storage.digests import json_sha256


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "code.py").write_text("one = 1\n")
    (tmp_path / "dvc.lock").write_text("stages: {}\n")
    commands = [["init", "-q"], ["add", "."], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "first"]]
    for command in commands:
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def test_a_clean_checkout_is_its_commit(repository: Path) -> None:
    commit, dirty = git_state(repository)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True, check=True)
    assert (commit, dirty) == (head.stdout.strip(), False)
    assert has_commit(repository, commit)
    assert not has_commit(repository, "0" * 40)


def test_changed_code_is_told_and_a_runs_own_lock_file_is_not(repository: Path) -> None:
    (repository / "dvc.lock").write_text("stages: {fetch: {}}\n")
    assert git_state(repository)[1] is False
    (repository / "code.py").write_text("one = 2\n")
    assert git_state(repository)[1] is True


def test_outside_of_git_no_commit_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EYAS_COMMIT", raising=False)
    assert git_state(tmp_path) == ("", False)


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert json_sha256({"a": 1, "b": [2]}) == json_sha256({"b": [2], "a": 1}) != json_sha256({"a": 1, "b": [3]})


def test_without_git_the_commit_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EYAS_COMMIT", "c" * 40)
    assert git_state(tmp_path) == ("c" * 40, False)
    monkeypatch.setenv("EYAS_COMMIT", "c" * 40 + "-dirty")
    assert git_state(tmp_path) == ("c" * 40, True)
    monkeypatch.setenv("EYAS_COMMIT", "v1.2")
    with pytest.raises(BadInputError, match="EYAS_COMMIT=v1.2: expected a whole commit"):
        git_state(tmp_path)


def test_git_knows_better_than_the_environment(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EYAS_COMMIT", "c" * 40)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True, check=True)
    assert git_state(repository) == (head.stdout.strip(), False)


def test_plugins_are_told_where_there_are_some() -> None:
    made = {"run_id": "r", "stage_keys": {}, "dataset_hash": "d", "baseline_sha256": "b", "params_digest": "p"}
    own = Lineage(**made, plugins="criterion mine of my_pruning.criterion")
    assert own.tags()["eyas.plugins"] == "criterion mine of my_pruning.criterion"
    assert Lineage.from_tags(own.tags()) == own
    assert "eyas.plugins" not in Lineage(**made).tags()
