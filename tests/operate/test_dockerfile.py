"""The worker's image: its steps run in a clean folder here, where no engine can build it."""

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


def test_it_needs_no_secret_and_no_argument() -> None:
    assert not {name for name, _ in steps()} & {"ARG", "SECRET"}
    assert "--mount" not in (ROOT / "Dockerfile").read_text()
    assert not re.search(r"(?i)(password|secret|token|key)=", " ".join(rest for name, rest in steps() if name == "ENV"))


def test_the_image_is_of_the_python_that_the_lock_was_made_for() -> None:
    (base,) = [rest for name, rest in steps() if name == "FROM"]
    assert re.match(r"python:3\.11\b", base)


@pytest.mark.integration
def test_its_steps_make_a_worker_in_a_clean_folder(tmp_path: Path) -> None:
    """COPY and RUN in order; installing from the lock is what ``make setup`` did to run this test."""
    folder = tmp_path / "eyas"
    folder.mkdir()
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    tracked = [Path(name) for name in listed if name and (ROOT / name).is_file()]
    for name, rest in steps():
        if name == "COPY":
            *sources, _ = rest.split()
            found = [p for p in tracked if any(s == "." or p == Path(s) or Path(s) in p.parents for s in sources)]
            assert found, f"COPY {rest}: nothing to copy"
            for path in found:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / path, folder / path)
        if name == "RUN" and "--editable" in rest:
            target = ["--target", str(tmp_path / "site"), "--quiet", "--no-deps", "--no-build-isolation"]
            subprocess.run([sys.executable, "-m", "pip", "install", *target, "."], cwd=folder, check=True)
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(folder),
        "EYAS_CHECKOUT": str(folder),
        "HOME": str(tmp_path),
    }
    code = "import flows.pipeline, tasks.drive, eyas; print(flows.pipeline.ROOT)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(folder)
