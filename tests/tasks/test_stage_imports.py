"""A stage knows neither the tracker nor the scheduler, also not through what it imports."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
STAGES = list(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_imports_neither_mlflow_nor_prefect(stage: str) -> None:
    code = f"import sys, tasks.{stage}; print(sorted({{'mlflow', 'prefect', 'tasks'}} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "['tasks']"
