"""What DVC cannot see of what the parameters name: each change reaches the stages that it changes, and no others."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
import yaml

from eyas.errors import BadInputError
from eyas.operations.fingerprint import OWN
from eyas.scoring.scorers import Scorer
from eyas.storage.digests import file_sha256
from eyas.training.recipes import Recipe
from tasks.fingerprint import code_files
from tasks.named_inputs import INPUTS, StageInputs, own_code, read_own_code, write_inputs
from tasks.workspace import Workspace, open_workspace

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("fetch", "baseline", "sample", "score", "finetune", "export")
NETWORK = set(STAGES) - {"fetch"}


@pytest.fixture
def lib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on ``PYTHONPATH`` with a network, and with what components of the user's own import."""
    files = {
        "mypkg/__init__.py": "",
        "mypkg/net.py": "from mypkg.free import act\ndef build(num_classes, config=None, inner=None): ...\n",
        "mypkg/free.py": "def act(x): return x\n",
        "mypkg/other.py": "def build(): ...\n",
        "user_recipe.py": "import augmentations\n",
        "augmentations.py": "",
        "user_scorer.py": "",
    }
    for name, text in files.items():
        (tmp_path / "lib" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "lib" / name).write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    return tmp_path / "lib"


@pytest.fixture
def _users_components() -> Iterator[None]:
    """A recipe and a scorer as a file in the family's folder would define them."""

    class Mine(Recipe):
        kind: Literal["mine"] = "mine"
        __module__ = "user_recipe"

    class MyScore(Scorer):
        kind: Literal["my_score"] = "my_score"
        __module__ = "user_scorer"

    yield
    del Recipe.registry["mine"], Scorer.registry["my_score"]


def opened(tmp_path: Path, name: str | None = None, **sections: object) -> Workspace:
    """A profile of a checkout with this project's ``dvc.yaml``."""
    root = tmp_path / "checkout"
    (root / "models").mkdir(parents=True, exist_ok=True)
    (root / "models/__init__.py").write_text("def build(name): ...\n")
    (root / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    for stage in yaml.safe_load((root / "dvc.yaml").read_text())["stages"].values():
        for dep in stage["deps"]:
            (root / dep).parent.mkdir(parents=True, exist_ok=True)
    sections = {"baseline": {"architecture": "mypkg.net:build"}, **sections}
    (root / "params.yaml").write_text(yaml.safe_dump({**{stage: {} for stage in STAGES}, **sections}))
    workspace = open_workspace(root, name=name)
    workspace.folder.mkdir(parents=True, exist_ok=True)
    return workspace


def stale(before: StageInputs, after: StageInputs) -> set[str]:
    return {stage for stage in STAGES if before[stage] != after[stage]}


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("mypkg/net.py", NETWORK),
        ("mypkg/free.py", NETWORK),
        ("mypkg/__init__.py", NETWORK),
        ("mypkg/other.py", set()),
        ("user_recipe.py", {"finetune"}),
        ("augmentations.py", {"finetune"}),
        ("user_scorer.py", {"score", "finetune"}),
    ],
)
@pytest.mark.usefixtures("_users_components")
def test_an_edited_file_makes_the_stages_stale_that_reach_it(
    file: str, stages: set[str], lib: Path, tmp_path: Path
) -> None:
    workspace = opened(tmp_path, finetune={"recipe": "mine"}, score={"scorer": "my_score"})
    before = write_inputs(workspace)
    (lib / file).write_text((lib / file).read_text() + "# edited\n")
    assert stale(before, write_inputs(workspace)) == stages  # finetune reads the section of score, too
    assert (file in code_files(workspace)[OWN]) == bool(stages)


def test_the_same_in_a_workspace_of_its_own_and_without_a_reason_nothing_is_written(lib: Path, tmp_path: Path) -> None:
    workspace = opened(tmp_path, name="other")
    inputs = write_inputs(workspace)
    assert inputs == write_inputs(opened(tmp_path))
    path = workspace.folder / INPUTS
    assert json.loads(path.read_text()) == inputs
    os.utime(path, (1, 1))
    write_inputs(workspace)
    assert path.stat().st_mtime == 1


def test_relative_folders_of_the_search_path_start_where_stages_run(
    lib: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "../lib")
    assert "mypkg/net.py" in write_inputs(opened(tmp_path))["baseline"]
    assert "mypkg/net.py" not in write_inputs(opened(tmp_path, name="other"))["baseline"]


def test_an_own_module_beside_the_checkouts_architectures_counts_and_they_themselves_are_dvcs(
    lib: Path, tmp_path: Path
) -> None:
    workspace = opened(tmp_path, baseline={"architecture": "plain"})
    (workspace.root / "models/__init__.py").write_text("import layers_of_mine\n")
    (workspace.root / "layers_of_mine.py").write_text("")
    inputs = write_inputs(workspace)
    assert all(inputs[stage].keys() == {"layers_of_mine.py"} for stage in NETWORK)
    assert inputs["fetch"] == {}


@pytest.mark.parametrize(("name", "counts"), [("weights", True), (".", False), ("..", False), ("", False)])
def test_a_folder_among_a_factorys_arguments_counts_with_all_its_files(
    lib: Path, tmp_path: Path, name: str, counts: bool
) -> None:
    arguments = {"folder": name}
    workspace = opened(tmp_path, baseline={"architecture": "mypkg.net:build", "arguments": arguments})
    (workspace.folder / "weights/inner").mkdir(parents=True)
    seen = []
    for text in ("one", "two"):
        (workspace.folder / "weights/inner/a.bin").write_text(text)
        seen.append(own_code(workspace)["baseline"])
    assert (seen[0] != seen[1]) == counts == ("weights/inner/a.bin" in seen[0])


def test_what_a_factorys_arguments_name_counts_code_and_files(lib: Path, tmp_path: Path) -> None:
    arguments = {"inner": {"factory": "mypkg.other:build"}, "config": "net.json", "text": "nothing:here", "n": 3}
    workspace = opened(tmp_path, baseline={"architecture": "mypkg.net:build", "arguments": arguments})
    (workspace.folder / "net.json").write_text("{}")
    before = write_inputs(workspace)
    assert {"mypkg/other.py", "net.json"} <= before["sample"].keys()
    for path in (workspace.folder / "net.json", lib / "mypkg/other.py"):
        path.write_text("[]")
        after = write_inputs(workspace)
        assert stale(before, after) == NETWORK
        before = after


def test_a_checkpoint_that_is_a_file_counts_by_its_content(tmp_path: Path) -> None:
    workspace = opened(tmp_path, baseline={"checkpoint": "dense.pt", "seen_by_checkpoint": False})
    with pytest.raises(BadInputError, match="dense.pt does not exist"):
        write_inputs(workspace)
    (workspace.root / "dense.pt").write_text("one")
    before = write_inputs(workspace)
    (workspace.root / "dense.pt").write_text("two")
    assert stale(before, write_inputs(workspace)) == {"baseline"}


def test_a_latency_profile_counts_by_its_content_for_those_who_read_its_section(tmp_path: Path) -> None:
    workspace = opened(tmp_path, sample={"round_to": "auto", "latency_profile": "device.json"})
    missing = write_inputs(workspace)
    (workspace.root / "device.json").write_text("one")
    before = write_inputs(workspace)
    assert stale(missing, before) == {"sample", "score"}
    (workspace.root / "device.json").write_text("two")
    assert stale(before, write_inputs(workspace)) == {"sample", "score"}


def test_the_rule_that_a_bundle_carries_counts_for_export_where_the_bundle_is_adaptable(tmp_path: Path) -> None:
    def inputs(adapt: dict[str, object], *, adaptable: bool = True) -> StageInputs:
        return write_inputs(opened(tmp_path, export={"adaptable": adaptable}, adapt=adapt))

    before, plain = inputs({}), inputs({}, adaptable=False)
    assert stale(before, inputs({"rule": {"max_canary_loss": 0.2}})) == {"export"}
    assert stale(before, inputs({"source_images": 99})) == {"export"}
    assert stale(before, inputs({"batch_size": 32})) == set()
    assert stale(plain, inputs({"rule": {"max_canary_loss": 0.2}}, adaptable=False)) == set()
    assert read_own_code(opened(tmp_path, export={"adaptable": True})) == {}  # it is no code of the user's


def test_a_registered_checkpoint_counts_by_the_version_that_its_alias_means(tmp_path: Path) -> None:
    workspace = opened(tmp_path, baseline={"checkpoint": "models:/net@champion"})
    before = write_inputs(workspace, "net version 1, 12ab")
    assert before["baseline"]["baseline.checkpoint"] == "net version 1, 12ab"
    assert stale(before, write_inputs(workspace, "net version 2, 34cd")) == {"baseline"}
    assert stale(before, write_inputs(workspace, "net version 1, 12ab")) == set()


def test_a_remote_checkpoint_is_not_asked(tmp_path: Path) -> None:
    workspace = opened(tmp_path, baseline={"checkpoint": "http://127.0.0.1:9/dense.pt", "seen_by_checkpoint": False})
    assert "baseline.checkpoint" not in write_inputs(workspace)["baseline"]


def test_the_default_profile_names_nothing_that_dvc_does_not_see() -> None:
    written = json.loads((ROOT / INPUTS).read_text())
    assert written == {stage: {} for stage in STAGES}


def test_digests_are_those_of_the_files(lib: Path, tmp_path: Path) -> None:
    baseline = write_inputs(opened(tmp_path))["baseline"]
    assert baseline["mypkg/free.py"] == file_sha256(lib / "mypkg/free.py")
