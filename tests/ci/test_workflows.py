"""Workflow files: valid by the published schema, and calling only scripts that exist."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_the_four_workflows_are_there() -> None:
    assert [path.stem for path in WORKFLOWS] == ["adapt", "ci", "promote", "retrain"]


def test_they_are_valid_by_the_published_schema() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    done = subprocess.run([*command, *map(str, WORKFLOWS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_script_they_call_exists_and_can_run(path: Path) -> None:
    called = set(re.findall(r"\.ci/\w+", path.read_text()))
    assert called
    assert all(os.access(ROOT / script, os.X_OK) for script in called)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_no_job_that_runs_the_project_s_code_may_write(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        scripts = "".join(step.get("run", "") for step in job["steps"])
        may_write = "write" in job.get("permissions", {}).values()
        assert not (may_write and ("make" in scripts or "python" in scripts)), name


def test_training_code_cannot_read_the_token() -> None:
    (path,) = (path for path in WORKFLOWS if path.stem == "retrain")
    checkout = yaml.safe_load(path.read_text())["jobs"]["retrain"]["steps"][0]
    assert checkout["with"]["persist-credentials"] is False


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_no_untrusted_text_is_pasted_into_a_shell(path: Path) -> None:
    scripts = re.findall(r"run: \|?\n?((?:.*\n)+?)(?=\s+- |\Z)", path.read_text())
    pasted = [text for script in scripts for text in re.findall(r"\$\{\{\s*(github\.event\.[\w.]+)", script)]
    assert set(pasted) <= {"github.event.number"}


@pytest.mark.parametrize("script", sorted((ROOT / ".ci").iterdir()), ids=lambda path: path.name)
def test_scripts_are_valid_shell(script: Path) -> None:
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
