"""The worker's image: its steps run in a clean folder here, where no engine can build it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def steps() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines]


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_it_needs_no_secret_and_takes_nothing_but_the_commit() -> None:
    assert [rest for name, rest in steps() if name == "ARG"] == ['EYAS_COMMIT=""']
    assert "--mount" not in (ROOT / "Dockerfile").read_text()
    assert not re.search(r"(?i)(password|secret|token|key)=", " ".join(rest for name, rest in steps() if name == "ENV"))


def test_no_secret_of_the_checkout_gets_in() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {".git", ".eyas", ".dvc/config.local", "**/.env"} <= set(ignored)


def test_the_image_is_of_the_python_that_the_lock_was_made_for() -> None:
    (base,) = [rest for name, rest in steps() if name == "FROM"]
    assert re.match(r"python:3\.11\b", base)


def test_the_worker_is_no_root_and_owns_what_it_writes() -> None:
    names = [name for name, _ in steps()]
    (user,) = [rest for name, rest in steps() if name == "USER"]
    assert user not in {"root", "0"}
    last_run = max(index for index, name in enumerate(names) if name == "RUN")
    assert names.index("USER") > last_run > max(index for index, name in enumerate(names) if name == "COPY")
    made = dict(enumerate(steps()))[last_run][1]
    assert f"useradd --create-home --uid 10001 {user}" in made
    assert f"mkdir -p .eyas && chown -R {user}:{user} /eyas" in made


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """What the steps leave in a clean folder, and the environment they set; root's own steps are left out."""
    home = tmp_path_factory.mktemp("image")
    folder, site = home / "eyas", home / "site"
    folder.mkdir()
    environment = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin:/bin"]),
        "HOME": str(home),
        "EYAS_CHECKOUT": str(folder),
        "PYTHONPATH": os.pathsep.join([str(folder), str(site)]),
        "EYAS_COMMIT": COMMIT,
    }
    done = []
    for name, rest in steps():
        if name == "COPY":
            copy(rest.split()[:-1], folder)
        elif name == "RUN" and "--editable" in rest:
            target = ["--target", str(site), "--quiet", "--no-deps", "--no-build-isolation"]
            subprocess.run([sys.executable, "-m", "pip", "install", *target, "."], cwd=folder, check=True)
        elif name == "RUN" and not re.match(r"apt-get|useradd|python -m pip install", rest):
            subprocess.run(["sh", "-c", rest], cwd=folder, env=environment, check=True)
            done.append(rest)
    assert done
    return folder, environment


def copy(sources: list[str], folder: Path) -> None:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    tracked = [Path(name) for name in listed if name and (ROOT / name).is_file()]
    copied = [p for p in tracked if any(s == "." or p == Path(s) or Path(s) in p.parents for s in sources)]
    assert copied, f"COPY {sources}: nothing to copy"
    for path in copied:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, folder / path)


def run(image: tuple[Path, dict[str, str]], *arguments: str, **variables: str) -> str:
    folder, environment = image
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=folder, env={**environment, **variables}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.integration
def test_its_steps_make_a_worker_in_a_clean_folder(image: tuple[Path, dict[str, str]]) -> None:
    """COPY and RUN in order; installing from the lock is what ``make setup`` did to run this test."""
    folder, _ = image
    code = "import flows.pipeline, tasks.run_stage, eyas; print(flows.pipeline.ROOT, eyas.__file__)"
    root, package = run(image, "-c", code).split()
    assert root == str(folder)
    assert Path(package).is_relative_to(folder.parent)
    assert not (folder / ".git").exists()


@pytest.mark.integration
def test_a_stage_runs_there_without_git(image: tuple[Path, dict[str, str]]) -> None:
    folder, _ = image
    run(image, "-m", "dvc", "repro", "-s", "fetch")
    assert json.loads((folder / "artifacts/fetch/metrics.json").read_text())["images"] == 1797
    assert "didn't change" in run(image, "-m", "dvc", "repro", "-s", "fetch")


@pytest.mark.integration
def test_lineage_there_has_the_commit_it_was_built_from(image: tuple[Path, dict[str, str]]) -> None:
    code = "from eyas.operations.lineage import git_state; from flows.environment import ROOT; print(*git_state(ROOT))"
    assert run(image, "-c", code).split() == [COMMIT, "False"]
    assert run(image, "-c", code, EYAS_COMMIT=f"{COMMIT}-dirty").split() == [COMMIT, "True"]
    assert run(image, "-c", code, EYAS_COMMIT="").split() == ["False"]
