"""From a version back to its making: what is needed, and what is here as it was."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from eyas.config import PipelineParams
from eyas.errors import BadInputError
from eyas.operations import tracking
from eyas.operations.fingerprint import code_digest
from eyas.operations.report import LATENCY
from eyas.operations.tracking import model_registry
from eyas.storage import Store
from eyas.storage.digests import file_sha256
from tasks.dense_source import checkpoint_versions
from tasks.fingerprint import code_files, recorded_fingerprint
from tasks.named_inputs import own_code
from tasks.record import log_report, start_run
from tasks.register import register, workspace_lineage
from tasks.reproduce import reproduce
from tasks.source_version import SOURCE, data_versions
from tasks.stage import write_json
from tasks.tracking_store import open_store
from tasks.users_code import PYTHON_PATH, folders_of_code
from tasks.workspace import Workspace, open_workspace


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all tests: its tables take a second."""
    return tmp_path_factory.mktemp("mlflow") / "mlflow.db"


@pytest.fixture
def workspace(tmp_path: Path, database: Path, pruned_digits: Path, digits_params: PipelineParams) -> Workspace:
    """A git repository with stand-ins for what the stages leave, in which one version can be registered."""
    git(tmp_path, "init", "-q")
    content = digits_params.model_dump(mode="json", by_alias=True)
    content["fetch"]["train"], content["baseline"]["checkpoint"] = "data", "dense.pt"
    content["baseline"]["seen_by_checkpoint"] = False
    content["runtime"]["tracking_uri"] = f"sqlite:///{database}"
    content["register"]["model"] = tmp_path.name
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "data").mkdir()
    for name in ("data/images.bin", "dense.pt", "code.py", ".dvcignore"):
        (tmp_path / name).write_text("first\n")
    stage = {"cmd": "x", "deps": ["code.py"], "outs": []}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"fetch": stage}}))
    made = open_workspace(tmp_path)
    fill(made, pruned_digits)
    git(tmp_path, "add", "code.py", "dvc.yaml", "dvc.lock", "params.yaml")
    git(tmp_path, "commit", "-q", "-m", "first")
    return made


def fill(workspace: Workspace, source: Path) -> None:
    """What the stages would leave."""
    for name in ("fetch", "baseline", "export", "report"):
        (workspace.artifacts / name).mkdir(parents=True)
    for file in ("fetch/manifest.json", "baseline/model.safetensors", "baseline/architecture.json"):
        (workspace.artifacts / file).write_bytes((source / file).read_bytes())
    export = workspace.artifacts / "export"
    _write_identity(export / "model.onnx")
    write_json(export / "manifest.json", {"files": {"model.onnx": {"sha256": file_sha256(export / "model.onnx")}}})
    (workspace.artifacts / "report" / "report.md").write_text("# Report\n")
    write_json(workspace.artifacts / LATENCY, {})
    seen = data_versions(workspace.params.fetch, Store(), workspace.root)
    write_json(workspace.artifacts / "fetch" / SOURCE, dict(seen))
    write_json(workspace.artifacts / "baseline" / SOURCE, dict(checkpoint_versions(workspace.params, workspace.root)))
    write_lock(workspace.folder, "first")


def _write_identity(path: Path) -> None:
    """The smallest file that ONNX Runtime opens."""
    from onnx import TensorProto, helper, save

    shape = ["batch", 1, 8, 8]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("images", "logits")]
    graph = helper.make_graph([helper.make_node("Identity", ["images"], ["logits"])], "g", ends[:1], ends[1:])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


def write_lock(folder: Path, digest: str) -> None:
    (folder / "dvc.lock").write_text(
        yaml.safe_dump({"stages": {"fetch": {"cmd": "x", "deps": [{"path": "code.py", "md5": digest}]}}})
    )


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def enter(workspace: Workspace) -> model_registry.Version:
    run_id = start_run(workspace)
    log_report(run_id, workspace, workspace.artifacts / "report")
    tags = recorded_fingerprint(workspace, code_digest(code_files(workspace))).tags()
    tags[PYTHON_PATH] = folders_of_code(workspace, code_files(workspace))
    lineage = workspace_lineage(run_id, workspace, code_files(workspace))
    return register(open_store(workspace), workspace.params, workspace.artifacts, lineage, tags=tags)


def missing(workspace: Workspace) -> dict[str, str]:
    return {check.name: check.text for check in reproduce(workspace).needed if not check.holds}


def differing(workspace: Workspace) -> dict[str, str]:
    return {check.name: check.text for check in reproduce(workspace).here if not check.holds}


def test_everything_is_here(workspace: Workspace) -> None:
    version = enter(workspace)
    reproduction = reproduce(workspace)
    assert reproduction.ready
    assert reproduction.differs == ()
    assert [check.name for check in reproduction.needed] == [
        "files", "commit", "data source", "checkpoint source", "MLflow run"
    ]  # fmt: skip
    assert [check.name for check in reproduction.here] == ["code", "params", "data", "checkpoint", "lock"]
    assert f"git checkout {git(workspace.root, 'rev-parse', 'HEAD')}" in reproduction.commands
    assert ".venv/bin/eyas run" in reproduction.commands
    assert json.loads(json.dumps(reproduction.as_dict()))["lineage"]["run_id"] == version.run_id
    assert f"  MLflow run     {version.run_id}" in reproduction.lines()


def test_the_report_is_where_it_says(workspace: Workspace) -> None:
    version = enter(workspace)
    address = reproduce(workspace).report
    assert address is not None
    assert Path(address.removeprefix("file://")).read_text() == "# Report\n"
    assert f"  report         {address}" in reproduce(workspace).lines()
    store = open_store(workspace)
    assert tracking.report_address(store, tracking.start_pipeline(store, "no report")) is None
    assert version.run_id in address


def test_what_changed_here_since_is_named_and_hinders_nothing(workspace: Workspace) -> None:
    enter(workspace)
    write_lock(workspace.root, "second")
    manifest = workspace.artifacts / "fetch/manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"digest": "f" * 64}))
    (workspace.artifacts / "baseline/model.safetensors").unlink()
    (workspace.root / "code.py").write_text("second\n")
    git(workspace.root, "commit", "-q", "-am", "second")
    words = differing(workspace)
    assert set(words) == {"code", "data", "checkpoint", "lock"}
    assert words["lock"] == "dvc.lock differs in fetch"
    assert "has none yet" in words["checkpoint"]
    assert reproduce(workspace).ready


@pytest.fixture
def with_own_code(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The workspace's network is the user's: a module of ``lib``, which stands in ``PYTHONPATH``."""
    (tmp_path / "lib" / "mypkg").mkdir(parents=True)
    (tmp_path / "lib/mypkg/net.py").write_text("import yaml\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    content = yaml.safe_load((tmp_path / "params.yaml").read_text())
    content["baseline"]["architecture"] = "mypkg.net:build"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "models").mkdir()
    (tmp_path / "models/__init__.py").write_text("")
    stage = {"cmd": "x", "deps": ["code.py", "models"], "outs": []}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"fetch": stage}}))
    return tmp_path / "lib"


def test_own_code_must_be_here_and_is_told_where(
    workspace: Workspace, with_own_code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = open_workspace(workspace.root)
    enter(workspace)
    assert "own code" not in missing(workspace)
    assert reproduce(workspace).commands[-1] == f"PYTHONPATH={with_own_code}:$PYTHONPATH .venv/bin/eyas run"
    (with_own_code / "mypkg/net.py").write_text("import yaml  # edited\n")
    assert missing(workspace)["own code"] == f"{with_own_code}/mypkg/net.py is not what it was"
    assert differing(workspace)["code"] == "the files of the stages are others: mypkg/net.py changed"
    monkeypatch.delenv("PYTHONPATH")
    told = missing(workspace)["own code"]
    assert told.startswith(
        "mypkg/net.py is not here: the folder that holds mypkg/net.py must be the checkout, or stand"
    )
    assert differing(workspace)["code"] == "the files of the stages are others: mypkg/net.py cannot be found"
    assert told.endswith(f"; when the version was made, PYTHONPATH held {with_own_code}")
    assert reproduce(workspace).commands[-1] == f"PYTHONPATH={with_own_code}:$PYTHONPATH .venv/bin/eyas run"
    monkeypatch.setattr("tasks.users_code.version", lambda _: "0.1+cpu")
    assert "here is 0.1" in missing(workspace)["own code"]
    (workspace.root / "mypkg").mkdir()
    (workspace.root / "mypkg/net.py").write_text("import yaml\n")
    monkeypatch.undo()
    assert "own code" not in missing(workspace)
    assert reproduce(workspace).commands[-1] == ".venv/bin/eyas run"


def test_a_variable_that_own_code_reads_is_checked(
    workspace: Workspace, with_own_code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NET_ACT", raising=False)
    (with_own_code / "mypkg/net.py").write_text('import os\nACT = os.environ.get("NET_ACT")\n')
    workspace = open_workspace(workspace.root)
    enter(workspace)
    assert "own code" not in missing(workspace)
    monkeypatch.setenv("NET_ACT", "gelu")
    assert "the environment sets $NET_ACT to something else than then" in missing(workspace)["own code"]
    assert "$NET_ACT changed" in differing(workspace)["code"]
    assert "gelu" not in json.dumps(own_code(workspace))
    monkeypatch.delenv("NET_ACT")
    assert "own code" not in missing(workspace)


def test_other_parameters_are_named(workspace: Workspace) -> None:
    enter(workspace)
    content = yaml.safe_load((workspace.root / "params.yaml").read_text())
    content["score"]["seed"] += 1
    content["promote"]["max_drop"] = 0.5  # how it is operated changes no network
    (workspace.root / "params.yaml").write_text(yaml.safe_dump(content))
    assert differing(workspace) == {"params": "default has others: score.seed"}


@pytest.mark.parametrize(("file", "name"), [("data/images.bin", "data source"), ("dense.pt", "checkpoint source")])
def test_a_source_that_holds_something_else_is_told(workspace: Workspace, file: str, name: str) -> None:
    enter(workspace)
    (workspace.root / file).write_text("second\n")
    assert missing(workspace) == {name: f"{file.partition('/')[0]} holds something else now"}
    assert not reproduce(workspace).ready
    (workspace.root / file).unlink()
    if file == "dense.pt":
        assert "does not exist" in missing(workspace)[name]


def test_the_sources_are_those_of_the_version_not_of_today(workspace: Workspace) -> None:
    enter(workspace)
    content = yaml.safe_load((workspace.root / "params.yaml").read_text())
    content["fetch"]["train"] = "elsewhere"
    (workspace.root / "params.yaml").write_text(yaml.safe_dump(content))
    assert reproduce(open_workspace(workspace.root)).ready
    (workspace.root / "data/images.bin").write_text("second\n")
    assert set(missing(open_workspace(workspace.root))) == {"data source"}


def test_a_version_is_compared_with_the_workspace_it_was_made_in(workspace: Workspace, pruned_digits: Path) -> None:
    """Asked from the default profile, whose parameters and lock are others."""
    mine = open_workspace(workspace.root, overrides=["score.seed=77"], name="mine")
    with mine.locked():
        fill(mine, pruned_digits)
    enter(mine)
    write_lock(workspace.root, "second")
    reproduction = reproduce(workspace)
    assert (reproduction.ready, reproduction.differs) == (True, ())
    assert ".venv/bin/eyas run --params params.yaml --set score.seed=77 --name mine" in reproduction.commands
    write_lock(mine.folder, "second")
    assert reproduce(workspace).differs == ("lock",)
    (workspace.root / "params.yaml").rename(workspace.root / "moved.yaml")
    assert "'mine' cannot be opened" in differing(workspace)["params"]


def test_a_version_that_was_registered_by_an_older_command_finds_its_workspace(
    workspace: Workspace, pruned_digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``python -m flows run`` is what such versions carry; it still runs."""
    mine = open_workspace(workspace.root, overrides=["score.seed=77"], name="mine")
    with mine.locked():
        fill(mine, pruned_digits)
    older = "python -m flows run --params params.yaml --set score.seed=77 --name mine"
    monkeypatch.setattr(Workspace, "command", older)
    enter(mine)
    write_lock(mine.folder, "second")
    reproduction = reproduce(workspace)
    assert (reproduction.ready, reproduction.differs) == (True, ("lock",))
    assert f".venv/bin/{older}" in reproduction.commands


def test_uncommitted_changes_and_unknown_commits_are_told(workspace: Workspace) -> None:
    (workspace.root / "code.py").write_text("changed\n")
    enter(workspace)
    assert set(missing(workspace)) == {"changes"}
    (workspace.root / ".git").rename(workspace.root / ".git-elsewhere")
    assert "is not here: git fetch" in missing(workspace)["commit"]


def test_a_version_of_an_image_has_the_commit_of_the_image(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace.root / ".git").rename(workspace.root / ".git-elsewhere")
    monkeypatch.setenv("EYAS_COMMIT", "c" * 40)
    enter(workspace)
    assert reproduce(workspace).ready
    monkeypatch.delenv("EYAS_COMMIT")
    assert "is not here" in missing(workspace)["commit"]


def test_without_any_commit_that_is_said(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    (workspace.root / ".git").rename(workspace.root / ".git-elsewhere")
    monkeypatch.delenv("EYAS_COMMIT", raising=False)
    version = enter(workspace)
    assert missing(workspace)["commit"].startswith("unknown")
    tags = open_store(workspace).client.get_run(version.run_id).data.tags
    assert (tags["eyas.git_commit"], tags["eyas.git_dirty"]) == ("unknown", "unknown")
    assert not any(command.startswith("git checkout") for command in reproduce(workspace).commands)


def test_tampered_files_are_told(workspace: Workspace) -> None:
    version = enter(workspace)
    (Path(version.source.removeprefix("file://")) / model_registry.FILES / "model.onnx").write_bytes(b"other")
    assert "expected sha256" in missing(workspace)["files"]


def test_a_version_of_others_is_told_as_one(workspace: Workspace) -> None:
    store, name = open_store(workspace), workspace.params.register_.model
    store.client.create_registered_model(name)
    store.client.create_model_version(name, source="file:///nowhere")
    with pytest.raises(BadInputError, match=f"{name} version 1 was not registered by eyas"):
        reproduce(workspace, "1")
