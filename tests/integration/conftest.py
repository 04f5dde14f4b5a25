"""A copy of the checkout, and a command runner in it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CLEARED = ("PREFECT_API_URL", "PREFECT_HOME", "MLFLOW_TRACKING_URI", "AWS_ENDPOINT_URL", "MLFLOW_S3_ENDPOINT_URL")
TINY = """
fetch: {train: "builtin:digits", image_size: 8, mean: [0.3053], std: [0.3764]}
baseline:
  architecture: resnet8
  arguments: {width: 8, in_channels: 1}
  epochs: 8
  recipe: {kind: sgd, batch_size: 32, learning_rate: 0.1}
sample: {budget: {macs: 0.5}, tolerance: 0.02, candidates: 12}
score: {}
finetune: {epochs: 5, recipe: {kind: sgd, batch_size: 32, learning_rate: 0.05}}
export: {latency_runs: 20}
register: {model: tiny}
runtime: {threads: 1}
"""


class Checkout:
    """A copy of the files that git knows, with an environment and a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder.parent / f"{folder.name}-home"
        self.home.mkdir(exist_ok=True)
        self.environment = {name: value for name, value in os.environ.items() if name not in CLEARED}
        own = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # DVC finds its `python` there
        sources = f"{folder}{os.pathsep}{folder / 'src'}"  # the copy's own library, whatever is installed
        self.environment |= {"PYTHONPATH": sources, "HOME": str(self.home), "PATH": own}

    def run(
        self, *arguments: str, status: int = 0, environment: Mapping[str, str] | None = None, timeout: float = 300
    ) -> str:
        """``python -m ...`` in the copy; what it printed. Fails unless it leaves with ``status``."""
        done = subprocess.run(
            [sys.executable, "-m", *arguments], cwd=self.folder, env={**self.environment, **(environment or {})},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        assert done.returncode == status, f"{arguments} left with {done.returncode}:\n{done.stdout[-6000:]}"
        return done.stdout

    def copy(self, folder: Path) -> Path:
        """The sources and parameters again, without what runs left."""
        left_by_runs = shutil.ignore_patterns("artifacts", "workspaces", ".eyas", "dvc.lock", "cache", "tmp", "*.log")
        shutil.copytree(self.folder, folder, ignore=left_by_runs)
        return folder


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The checkout's files as they are now, with tiny parameters."""
    folder = tmp_path_factory.mktemp("run") / "checkout"
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        if not name.startswith(("tests/", "docs/")) and name != "dvc.lock" and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / "params.yaml").write_text(TINY)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return Checkout(folder)
