import json
import subprocess
from pathlib import Path

import pytest
import yaml

from eyas.config import PipelineParams
from eyas.tracking import registry
from tasks.record import open_store, start_run
from tasks.register import register, workspace_lineage
from tasks.reproduce import reproduce
from tasks.stage import write_json
from tasks.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path, pruned_digits: Path, digits_params: PipelineParams) -> Workspace:
    """A git repository with stand-ins for what the stages leave, in which one version was registered."""
    git(tmp_path, "init", "-q")
    for name in ("fetch", "baseline", "export"):
        (tmp_path / "artifacts" / name).mkdir(parents=True)
    for file in ("fetch/manifest.json", "baseline/model.safetensors", "baseline/architecture.json"):
        (tmp_path / "artifacts" / file).write_bytes((pruned_digits / file).read_bytes())
    export = tmp_path / "artifacts/export"
    _write_identity(export / "model.onnx")
    from eyas.lineage import file_sha256

    write_json(export / "manifest.json", {"files": {"model.onnx": {"sha256": file_sha256(export / "model.onnx")}}})
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"fetch": {"deps": [], "outs": []}}}))
    write_lock(tmp_path, "first")
    (tmp_path / "code.py").write_text("first\n")
    git(tmp_path, "add", "code.py", "dvc.yaml", "dvc.lock")
    git(tmp_path, "commit", "-q", "-m", "first")
    runtime = digits_params.runtime.model_copy(update={"tracking_uri": f"sqlite:///{tmp_path / 'mlflow.db'}"})
    return Workspace(tmp_path, tmp_path, "default", digits_params.model_copy(update={"runtime": runtime}))


def _write_identity(path: Path) -> None:
    """The smallest file that ONNX Runtime opens."""
    from onnx import TensorProto, helper, save

    shape = ["batch", 1, 8, 8]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("images", "logits")]
    graph = helper.make_graph([helper.make_node("Identity", ["images"], ["logits"])], "g", ends[:1], ends[1:])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


def write_lock(folder: Path, digest: str) -> None:
    (folder / "dvc.lock").write_text(yaml.safe_dump({"stages": {"fetch": {"cmd": "x", "deps": [digest]}}}))


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def enter(workspace: Workspace) -> registry.Version:
    lineage = workspace_lineage(start_run(workspace), workspace)
    return register(open_store(workspace), workspace.params, workspace.artifacts, lineage)


def failing(workspace: Workspace) -> dict[str, str]:
    return {check.name: check.text for check in reproduce(workspace).checks if not check.holds}


def test_everything_is_here(workspace: Workspace) -> None:
    version = enter(workspace)
    found = reproduce(workspace)
    assert found.ready
    assert f"git checkout {git(workspace.root, 'rev-parse', 'HEAD')}" in found.commands
    assert ".venv/bin/python -m flows run" in found.commands
    assert json.loads(json.dumps(found.as_dict()))["lineage"]["run_id"] == version.run_id
    assert f"  MLflow run     {version.run_id}" in found.lines()


def test_what_changed_since_is_named(workspace: Workspace) -> None:
    enter(workspace)
    write_lock(workspace.root, "second")
    manifest = workspace.artifacts / "fetch/manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"digest": "f" * 64}))
    (workspace.artifacts / "baseline/model.safetensors").unlink()
    (workspace.root / "code.py").write_text("second\n")
    git(workspace.root, "commit", "-q", "-am", "second")
    found = failing(workspace)
    assert set(found) == {"data set", "dense weights", "stage keys"}
    assert found["stage keys"] == "dvc.lock differs in fetch"
    assert "has none yet" in found["dense weights"]


def test_uncommitted_changes_and_unknown_commits_are_told(workspace: Workspace) -> None:
    (workspace.root / "code.py").write_text("changed\n")
    enter(workspace)
    assert set(failing(workspace)) == {"changes"}
    (workspace.root / ".git").rename(workspace.root / ".git-elsewhere")
    assert "is not here: git fetch" in failing(workspace)["code"]


def test_tampered_files_are_told(workspace: Workspace) -> None:
    version = enter(workspace)
    (Path(version.source.removeprefix("file://")) / registry.FILES / "model.onnx").write_bytes(b"other")
    assert "expected sha256" in failing(workspace)["files"]
