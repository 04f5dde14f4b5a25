"""The scripts that CI calls, in a small repository with a real DVC remote; ``eyas`` is a stub that keeps its calls."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from tests.support.peers import bucket_in, fault_proxy, s3_service

ROOT = Path(__file__).resolve().parents[2]
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
EYAS = f"""#!{sys.executable}
import json, os, pathlib, sys
with open("calls", "a") as calls:
    calls.write(" ".join(sys.argv[1:]) + "\\n")
if sys.argv[1] == "retrain":
    ran = os.environ.get("RAN", "yes") == "yes"
    print(json.dumps(dict(ran=ran, reason="changed", version="7", run_id="1" if ran else None)))
    sys.exit(int(os.environ.get("RETRAIN_STATUS", 0)))
pathlib.Path(sys.argv[sys.argv.index("--report") + 1]).write_text("every gate holds\\n")
sys.exit(int(os.environ.get("GATE_STATUS", 0)))
"""
STAGE = {
    "cmd": "cp in out && echo '{\"accuracy\": 0.5}' > metrics.json",
    "deps": ["in"],
    "outs": ["out"],
    "metrics": [{"metrics.json": {"cache": True}}],
}


class Repository:
    """A git and DVC repository with the scripts and the Makefile of this one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / ".venv" / "bin").mkdir(parents=True)
        python, dvc = (f'#!/bin/sh\nexec {sys.executable} {module} "$@"\n' for module in ("", "-m dvc"))
        for name, content in {"python": python, "dvc": dvc, "eyas": EYAS}.items():
            program = folder / ".venv" / "bin" / name
            program.write_text(content)
            program.chmod(0o755)
        shutil.copytree(ROOT / ".ci", folder / ".ci")
        shutil.copy(ROOT / "Makefile", folder)
        (folder / "in").write_text("data")
        (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"one": STAGE}}))
        self.remote = folder.parent / "remote"
        cleared = ("CI", "PYTHONPATH", "MLFLOW_TRACKING_URI", "AWS_ENDPOINT_URL", "MAKEFLAGS", "MAKELEVEL")
        self.environment = {name: value for name, value in os.environ.items() if name not in cleared}
        state = str(folder.parent / "dvc")
        self.environment |= {
            "GIT_CONFIG_GLOBAL": os.devnull,
            "DVC_NO_ANALYTICS": "1",
            "DVC_GLOBAL_CONFIG_DIR": state,
            "DVC_SITE_CACHE_DIR": state,
        }
        self.git("init", "-q", "-b", "main")
        self.run(".venv/bin/dvc", "init", "-q")
        self.run(".venv/bin/dvc", "remote", "add", "-q", "-d", "local", str(self.remote))
        self.run(".venv/bin/dvc", "repro", "-q")
        self.git("add", "dvc.yaml", "dvc.lock", ".dvc")
        self.git("commit", "-q", "-m", "first")

    def git(self, *arguments: str) -> None:
        self.run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments)

    def run(self, *command: str, status: int = 0, environment: Mapping[str, str] | None = None) -> str:
        """What a command printed; fails unless it leaves with ``status``."""
        variables = {**self.environment, **(environment or {})}
        done = subprocess.run(
            command, cwd=self.folder, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            check=False,
        )  # fmt: skip
        assert done.returncode == status, f"{command} left with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def calls(self) -> list[str]:
        """What ``flows`` was asked."""
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def stored(self) -> list[Path]:
        """Files in the remote."""
        return [path for path in self.remote.rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return Repository(tmp_path_factory.mktemp("ci") / "repository")


@pytest.fixture
def repository(made: Repository) -> Repository:
    """As it was made, with an empty remote."""
    shutil.rmtree(made.remote, ignore_errors=True)
    for name in ("calls", "gate.md", "decision.json", ".dvc/config.local", "comment.md"):
        (made.folder / name).unlink(missing_ok=True)
    return made


def test_the_first_run_finds_nothing_to_pull_and_leaves_what_a_pull_request_needs(repository: Repository) -> None:
    repository.run(".ci/retrain", "a reason of many words")
    assert repository.calls() == [
        "retrain --reason=a reason of many words --json",
        "promote --version 7 --dry-run --report gate.md",
    ]
    assert json.loads((repository.folder / "decision.json").read_text())["version"] == "7"
    assert (repository.folder / "gate.md").read_text() == "every gate holds\n"
    assert any("runs" in path.parts for path in repository.stored())
    before = len(repository.stored())
    shutil.rmtree(repository.folder / ".dvc" / "cache")
    (repository.folder / "out").unlink()
    repository.run(".ci/retrain")
    assert (repository.folder / "out").read_text() == "data"
    assert len(repository.stored()) == before


@pytest.mark.parametrize(("gate", "status"), [("0", 0), ("3", 0), ("1", 1), ("2", 2)])
def test_a_version_that_the_gates_refuse_is_no_failure_anything_else_is(
    repository: Repository, gate: str, status: int
) -> None:
    repository.run(".ci/retrain", status=status, environment={"GATE_STATUS": gate})
    assert (repository.folder / "gate.md").exists()


def test_without_a_new_version_no_gate_is_asked_and_no_old_answer_stays(repository: Repository) -> None:
    (repository.folder / "gate.md").write_text("of the run before")
    repository.run(".ci/retrain", environment={"RAN": "no"})
    assert repository.calls() == ["retrain --reason=ci --json"]
    assert not (repository.folder / "gate.md").exists()


def test_a_retraining_that_fails_pushes_nothing_and_keeps_its_status(repository: Repository) -> None:
    repository.run(".ci/retrain", status=2, environment={"RETRAIN_STATUS": "2"})
    assert len(repository.calls()) == 1
    assert repository.stored() == []


def test_a_remote_that_refuses_ends_the_run_before_any_work(repository: Repository) -> None:
    with s3_service() as endpoint, fault_proxy(endpoint) as (url, proxy):
        repository.run("make", "-s", "remote-s3", "URL=s3://bucket/dvc", f"ENDPOINT={url}")
        proxy.add("status", status=403, code="InvalidAccessKeyId", times=1000)
        printed = repository.run(".ci/retrain", status=255, environment=KEYS)
    assert "Forbidden" in printed
    assert repository.calls() == []


def test_an_output_that_did_not_reach_the_remote_is_named(repository: Repository) -> None:
    cached = repository.folder / ".dvc" / "cache"
    kept = repository.folder.parent / "kept"
    shutil.copytree(cached, kept)
    shutil.rmtree(cached)
    try:
        printed = repository.run(".ci/retrain", status=1)
    finally:
        shutil.copytree(kept, cached, dirs_exist_ok=True)
        shutil.rmtree(kept)
    assert "did not reach the remote" in printed
    assert "out" in printed.split("did not reach the remote", 1)[1]
    assert len(repository.calls()) == 1


@pytest.mark.parametrize(
    ("environment", "status", "said"),
    [
        ({"CI": "true"}, 1, "MLFLOW_TRACKING_URI: set the secret"),
        ({"CI": "true", "MLFLOW_TRACKING_URI": "http://mlflow"}, 2, "a folder of this machine"),
    ],
)
def test_in_ci_a_store_that_ends_with_the_machine_is_refused(
    repository: Repository, environment: dict[str, str], status: int, said: str
) -> None:
    assert said in repository.run(".ci/retrain", status=status, environment=environment)
    assert repository.calls() == []


def test_make_remote_s3_leads_dvc_to_the_bucket(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "give the place" in repository.run("make", "-s", "remote-s3", status=2)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with s3_service() as endpoint, bucket_in(endpoint) as bucket:
        repository.run("make", "-s", "remote-s3", f"URL=s3://{bucket}/dvc", f"ENDPOINT={endpoint}")
        assert f"s3://{bucket}/dvc" in (repository.folder / ".dvc" / "config.local").read_text()
        repository.run(".venv/bin/dvc", "push", "-q", environment=KEYS)
        shutil.rmtree(repository.folder / ".dvc" / "cache")
        (repository.folder / "out").unlink()
        repository.run(".venv/bin/dvc", "pull", "-q", environment=KEYS)
    assert (repository.folder / "out").read_text() == "data"
    assert repository.stored() == []


def write_report(repository: Repository) -> None:
    folder = repository.folder / "artifacts" / "report"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(
        "# Report\n\nText.\n\n| what | dense | pruned |\n|---|---|---|\n| a | 1 | 2 |\n\nMore.\n"
    )


def test_the_comment_holds_the_result_table_and_the_metrics_against_the_base(repository: Repository) -> None:
    write_report(repository)
    (repository.folder / "metrics.json").write_text('{"accuracy": 0.75}')
    try:
        repository.run(".ci/report", "main")
    finally:
        (repository.folder / "metrics.json").write_text('{"accuracy": 0.5}\n')
    comment = (repository.folder / "comment.md").read_text()
    assert comment.startswith("| what | dense | pruned |\n|---|---|---|\n| a | 1 | 2 |\n")
    assert "More." not in comment
    assert "Metrics against main" in comment
    row = next(line for line in comment.splitlines() if "accuracy" in line)
    assert "0.75" in row


def test_a_base_that_is_not_there_is_said_in_the_comment(repository: Repository) -> None:
    write_report(repository)
    repository.run(".ci/report", "no-such-base")
    comment = (repository.folder / "comment.md").read_text()
    assert "no metrics to compare with" in comment
    assert "| a | 1 | 2 |" in comment
