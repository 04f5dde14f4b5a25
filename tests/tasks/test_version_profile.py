"""A version is adapted and watched in the profile that made it; what the registry says is no more than a name."""

import shutil
from pathlib import Path

import pytest
import yaml

from eyas.operations.tracking import Version
from tasks.version_profile import in_profile_of, open_by_command
from tasks.workspace import Workspace, open_workspace

ROOT = Path(__file__).resolve().parents[2]
OWN = ["baseline.epochs=3", "baseline.arguments={width: 8}"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """With the files that a workspace is made of."""
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").touch()
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, tmp_path / name)
    sections = {name: {} for name in ("fetch", "baseline", "sample", "score", "finetune", "export")}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({**sections, "register": {"model": "net"}}))
    return tmp_path


def made_in(workspace: Workspace | str, model: str = "net") -> Version:
    name = workspace if isinstance(workspace, str) else workspace.name
    return Version(model, "1", {"eyas.profile": name, "eyas.command": "eyas run --set baseline.architecture=os:system"})


@pytest.mark.parametrize("name", [None, "named"])
def test_the_profile_that_ran_here_is_opened_with_how_to_work_from_the_command(
    name: str | None, checkout: Path
) -> None:
    ran = open_workspace(checkout, overrides=OWN, name=name)
    with ran.locked():
        pass
    typed = open_workspace(checkout, overrides=["adapt.batch_size=9"])
    own = in_profile_of(made_in(ran), typed, ["adapt.batch_size=9"], None)
    assert (own.folder, own.name) == (ran.folder, ran.name)
    assert own.params.baseline == ran.params.baseline
    assert own.params.baseline.epochs == 3
    assert own.params.adapt.batch_size == 9


def test_another_profile_stays_where_it_is_named_or_the_version_was_not_made_here(checkout: Path) -> None:
    ran = open_workspace(checkout, overrides=OWN)
    with ran.locked():
        pass
    typed = open_workspace(checkout)
    for version, overrides, name in [
        (None, [], None),
        (made_in(ran), ["baseline.epochs=5"], None),
        (made_in(ran), [], "mine"),
        (made_in(typed), [], None),
        (made_in("gone"), [], None),
        (made_in("../../etc"), [], None),
        (made_in(ran, "another"), [], None),
        (Version("net", "1"), [], None),
    ]:
        assert in_profile_of(version, typed, overrides, name) is typed
    (ran.folder / "origin.json").unlink()
    assert in_profile_of(made_in(ran), typed, [], None) is typed


def test_a_command_opens_what_it_ran_in(checkout: Path) -> None:
    ran = open_workspace(checkout, overrides=OWN)
    assert open_by_command(checkout, ran.command).folder == ran.folder
    assert open_by_command(checkout, "eyas run").folder == checkout
