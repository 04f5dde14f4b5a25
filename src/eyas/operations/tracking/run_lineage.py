"""What a pipeline run was made of, for programs: hashes and the runs of its stages, in one file of the run.

Runs that were recorded before hold the same in tags.
"""

import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eyas.operations.tracking.mlflow_store import MlflowStore, retry

FILE = "lineage.json"


def read_lineage(store: MlflowStore, run_id: str) -> dict[str, Any]:
    """The content of a run's file; empty where it has none."""
    if all(entry.path != FILE for entry in retry(store.client.list_artifacts, run_id)):
        return {}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(retry(store.client.download_artifacts, run_id, FILE, scratch))
        content: dict[str, Any] = json.loads(path.read_text())
    return content


def add_lineage(store: MlflowStore, run_id: str, facts: Mapping[str, Any]) -> None:
    """Add to a run's file; facts of a stage join those of the others."""
    known = read_lineage(store, run_id)
    stages = {**known.get("stages", {}), **facts.get("stages", {})}
    retry(store.client.log_dict, run_id, {**known, **facts, **({"stages": stages} if stages else {})}, FILE)


def runs_by_stage(store: MlflowStore, parent_id: str) -> dict[str, str]:
    """By stage the run that made it, of a pipeline run."""
    known = read_lineage(store, parent_id).get("stages")
    if known is not None:
        return {stage: str(facts["run"]) for stage, facts in known.items()}
    tags: dict[str, str] = retry(store.client.get_run, parent_id).data.tags
    named = ((re.fullmatch(r"eyas\.(\w+)\.run", tag), run) for tag, run in tags.items())
    return {match[1]: run for match, run in named if match}
