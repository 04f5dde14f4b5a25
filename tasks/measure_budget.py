"""The exported network, timed end to end, against its limit of milliseconds: by the flow, for no time repeats."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from prefect import task
from prefect.cache_policies import NO_CACHE

from eyas.config import PipelineParams
from eyas.deploy.latency import LatencyTable
from eyas.deploy.latency.whole_networks import time_files
from eyas.errors import EyasError
from eyas.operations.report import LATENCY_BUDGET
from eyas.storage.digests import file_sha256
from tasks.recorded_cost import RANKED
from tasks.stage import write_json
from tasks.workspace import Workspace


@task(task_run_name="latency budget", cache_policy=NO_CACHE, persist_result=False)
def measure_budget(workspace: Workspace) -> None:
    """Bring ``artifacts/latency_budget.json`` up to date; see :func:`write_measured_budget`."""
    write_measured_budget(workspace.params, workspace.artifacts, workspace.root)


def write_measured_budget(params: PipelineParams, artifacts: Path, root: Path = Path()) -> dict[str, Any] | None:
    """Time the exported ONNX files as the latency profile was, unless these very files were timed here.

    What was predicted, what was measured and what was allowed stand beside each other; no file where no milliseconds
    are limited. A profile of another device leaves ``measured_ms`` empty: times of this one say nothing of it.
    """
    path, budget, profile = artifacts / LATENCY_BUDGET, params.sample.budget, params.sample.latency_profile
    if not budget.limits_latency or profile is None:
        path.unlink(missing_ok=True)
        return None
    files = [artifacts / "export" / name for name in ("dense.onnx", "model.onnx")]
    how = {"files": {file.name: file_sha256(file) for file in files}, "profile": file_sha256(root / profile)}
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if all(known.get(name) == value for name, value in how.items()):
        return known
    table = LatencyTable.read(root / profile)
    dense: float | None
    measured: float | None
    try:
        table.require(here=True)
        dense, measured = map(float, time_files(files, table))
    except EyasError:  # the table is of another machine: nothing is measured here
        dense = measured = None
    result = how | {
        "where": table.where,
        "limit_ms": budget.latency_ms or _dense_of_share(artifacts, dense) * (budget.latency or 0),
        "predicted_ms": _predicted(artifacts),
        "measured_ms": measured,
        "dense_ms": dense,
    }
    write_json(path, result)
    return result


def _predicted(artifacts: Path) -> float:
    """What the profile predicts of the winner."""
    ranked = pq.read_table(artifacts / RANKED)
    return float(ranked["latency_ms"][ranked["rank"].to_pylist().index(1)].as_py())


def _dense_of_share(artifacts: Path, measured: float | None) -> float:
    """What a share is taken of: the dense network as it was measured beside, else as it was predicted."""
    if measured is not None:
        return measured
    return float(json.loads((artifacts / "sample" / "metrics.json").read_text())["dense_latency_ms"])
