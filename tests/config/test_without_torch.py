"""Parameters are checked, and what needs no network is told, without the libraries that take seconds to import."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from eyas.component import families

ROOT = Path(__file__).resolve().parents[2]
FILES = [Path("params.yaml"), *sorted(path.relative_to(ROOT) for path in (ROOT / "configs").glob("*.yaml"))]
HEAVY = "print(sorted({'torch', 'mlflow', 'prefect'} & set(sys.modules)))"


def run_python(code: str, folder: Path = ROOT, **variables: str) -> "subprocess.CompletedProcess[str]":
    """A fresh interpreter in a checkout, without servers that are set."""
    set_elsewhere = ("PREFECT_", "MLFLOW_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(set_elsewhere)}
    environment |= {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(folder)]), **variables}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, text=True, capture_output=True, check=False
    )


@pytest.fixture
def empty_project(tmp_path: Path) -> Path:
    """A checkout in which nothing has happened yet."""
    for folder in ("flows", "tasks", "models"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / file, tmp_path)
    return tmp_path


@pytest.mark.parametrize("file", FILES, ids=str)
def test_parameters_are_checked_without_torch(file: Path) -> None:
    code = f"""
import sys
from pathlib import Path
import eyas.config, eyas.operations.fingerprint, tasks.profile_name, tasks.workspace
workspace = tasks.workspace.open_workspace(Path({str(ROOT)!r}), Path({str(ROOT / file)!r}))
print(workspace.params.sample.criterion.kind)
{HEAVY}
"""
    done = run_python(code)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ("status", 0, "champion   none"),
        ("promote", 2, "no version with alias 'candidate': run the pipeline first"),
        ("promote --dry-run", 2, "no version with alias 'candidate': run the pipeline first"),
        ("run --set sample.budgt=1", 2, "did you mean 'budget'?"),
        ("run --set score.batch_size=0", 2, "greater than or equal to 2; given: 0"),
        ("run --set sample.sampler=evolutoin", 2, "did you mean 'evolution'?"),
        ("run --check --set score.batch_size=0", 2, "greater than or equal to 2; given: 0"),
        ("run --check --set baseline.architecture=resnet9", 2, "'resnet9' is not in models/ (mobilenet_v1, "),
        ("run --check --set fetch.train=nowhere", 2, "nowhere"),
        ("rollback --set score.batch_size=0", 2, "greater than or equal to 2; given: 0"),
        ("compare default", 2, "one network alone compares with nothing"),
        ("init --help", 0, "Examples:"),
    ],
)
def test_a_light_command_imports_nothing_heavy(empty_project: Path, arguments: str, status: int, words: str) -> None:
    code = f"import sys; from eyas.cli import main; print(main({arguments.split()!r})); {HEAVY}"
    done = run_python(code, empty_project)
    *_, ended, heavy = done.stdout.splitlines()
    assert words in done.stdout + done.stderr
    assert (ended, heavy) == (str(status), "[]")


@pytest.mark.parametrize("family", sorted(families()))
def test_the_source_names_the_kinds_that_its_classes_define(family: str) -> None:
    """Kinds are read from the source before a file is imported: none may be left out, or be found in another file."""
    code = f"""
from eyas.component import families, import_members
import importlib
root = families()[{family!r}]
named = sorted(root.registry)
package = root.__module__.rpartition(".")[0]
import_members(package, importlib.import_module(package).__path__)
print(named == sorted(root.registry._defined) != [])
"""
    done = run_python(code)
    assert done.stdout == "True\n", done.stderr
