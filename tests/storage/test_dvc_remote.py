"""``make remote-s3``: DVC's remote on the endpoint that the store uses."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


def test_outputs_go_to_the_service_and_come_back(s3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", os.environ.get("AWS_DEFAULT_REGION", "us-east-1"))
    for name in ("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_SITE_CACHE_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    project = tmp_path / "project"
    (project / ".dvc").mkdir(parents=True)
    (project / ".venv").symlink_to(Path(sys.prefix))
    shutil.copy(ROOT / "Makefile", project)
    config = (ROOT / ".dvc" / "config").read_text().replace("[core]", "[core]\n    no_scm = true")
    (project / ".dvc" / "config").write_text(config)
    (project / "in.txt").write_text("in")
    stage = {"cmd": "cp in.txt out.txt", "deps": ["in.txt"], "outs": ["out.txt"]}
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"copy": stage}}))

    def run(*command: str) -> None:
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    dvc = (sys.executable, "-m", "dvc")
    run("make", "remote-s3", f"URL=s3://{s3.bucket}/dvc", f"ENDPOINT={s3.endpoint}")
    run(*dvc, "repro")
    run(*dvc, "push")
    stored = s3.keys()
    assert any(key.startswith("dvc/files/md5/") for key in stored)
    (project / "out.txt").unlink()
    shutil.rmtree(project / ".dvc" / "cache")
    run(*dvc, "pull")
    assert (project / "out.txt").read_text() == "in"
