"""Runs of MLflow: opening, writing and closing them; their stages are in :mod:`eyas.operations.tracking.stage_runs`."""

import json
import logging
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from eyas.errors import StorageError
from eyas.operations.tracking.mlflow_store import ABSENT, MlflowStore, retry
from eyas.operations.verdict import Verdict
from eyas.storage import redact, redacted

log = logging.getLogger(__name__)

PARENT = "mlflow.parentRunId"
REPORT = "report"
MAX_TAG = 5000
"""Characters of a tag that MLflow keeps."""
MAX_VALUE = 500
"""Characters of a parameter's value that are kept."""


def start_pipeline(
    store: MlflowStore, name: str, *, params: Mapping[str, Any] | None = None, tags: Mapping[str, str] | None = None
) -> str:
    """Open the parent run of a pipeline run and return its id."""
    run = retry(store.client.create_run, store.experiment_id, run_name=name, tags=dict(tags or {}))
    run_id = str(run.info.run_id)
    log_params(store, run_id, params or {})
    retry(store.client.log_dict, run_id, redacted(params or {}), "params.json")
    return run_id


def run_exists(store: MlflowStore, run_id: str) -> bool:
    """Whether the store knows a run that was not deleted."""
    from mlflow.exceptions import MlflowException

    try:
        return bool(retry(store.client.get_run, run_id).info.lifecycle_stage == "active")
    except MlflowException as error:
        if error.error_code not in ABSENT:
            raise
        return False


def log_progress(store: MlflowStore, run_id: str, stage: str, done: int, total: int) -> bool:
    """Share of a stage that is done, as a stepped metric of the parent run.

    Returns False where the store did not take it: progress is no reason to stop a training.
    """
    from mlflow.exceptions import MlflowException

    try:
        log_batch(store, run_id, metrics=[(f"{stage}.progress", done / max(total, 1), done)])
    except (MlflowException, StorageError, OSError) as error:
        log.warning("MLflow takes no progress any more: %s", redact(str(error).split("\n", 1)[0]))
        return False
    return True


def log_numbers(store: MlflowStore, run_id: str, numbers: Mapping[str, float]) -> None:
    """Metrics without steps."""
    log_batch(store, run_id, metrics=[(name, value, 0) for name, value in numbers.items()])


def tag_run(store: MlflowStore, run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags of a run."""
    log_batch(store, run_id, tags=tags)


def finish_run(store: MlflowStore, run_id: str) -> None:
    """Close a run as finished."""
    retry(store.client.set_terminated, run_id, status="FINISHED")


def fail_run(store: MlflowStore, run_id: str, message: str, log_tail: str = "", *, killed: bool = False) -> None:
    """Close a run as failed or killed, with the message as a tag and the end of the log as a file."""
    log_batch(store, run_id, tags={"eyas.error": redact(message)[:4000], "mlflow.note.content": redact(message)[:4000]})
    if log_tail:
        retry(store.client.log_text, run_id, redact(log_tail), "log_tail.txt")
    retry(store.client.set_terminated, run_id, status="KILLED" if killed else "FAILED")


def log_report(store: MlflowStore, run_id: str, folder: Path, *files: Path) -> None:
    """Upload the report and its pictures, and further files beside them."""
    retry(store.client.log_artifacts, run_id, str(folder), REPORT)
    for file in files:
        retry(store.client.log_artifact, run_id, str(file), REPORT)


def log_verdict(store: MlflowStore, run_id: str, verdict: Verdict) -> None:
    """What a result is worth: tags, ``verdict.*`` metrics, and the run's description."""
    tags = {**verdict.tags(), "mlflow.note.content": "\n\n".join(verdict.lines)}
    metrics = [(name, value, 0) for name, value in verdict.metrics().items()]
    log_batch(store, run_id, metrics=metrics, tags={name: redact(text)[:MAX_TAG] for name, text in tags.items()})


def report_address(store: MlflowStore, run_id: str) -> str | None:
    """Where the report of a run lies; None where it has none."""
    place = f"{REPORT}/report.md"
    if all(entry.path != place for entry in retry(store.client.list_artifacts, run_id, REPORT)):
        return None
    return f"{str(retry(store.client.get_run, run_id).info.artifact_uri).rstrip('/')}/{place}"


def log_batch(store: MlflowStore, run_id: str, *, metrics: Any = (), tags: Mapping[str, str] | None = None) -> None:
    """Metrics and tags in as few calls as the server's limit of 1,000 allows."""
    from mlflow.entities import Metric, RunTag

    now = int(time.time() * 1000)
    points = [Metric(_key(name), value, now, step) for name, value, step in metrics]
    run_tags = [RunTag(name, value) for name, value in (tags or {}).items()]
    for start in range(0, max(len(points), 1), 900):
        now_tags = run_tags if start == 0 else []
        retry(store.client.log_batch, run_id, metrics=points[start : start + 900], tags=now_tags)


def log_params(store: MlflowStore, run_id: str, params: Mapping[str, Any]) -> None:
    """Parameters by dotted names, without secrets."""
    from mlflow.entities import Param

    flat = [Param(_key(name), value[:MAX_VALUE]) for name, value in _flatten(redacted(params))]
    for start in range(0, len(flat), 100):
        retry(store.client.log_batch, run_id, params=flat[start : start + 100])


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested mappings as dotted names; everything else as text."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _flatten(inner, f"{prefix}.{name}" if prefix else str(name))
    elif prefix:
        yield prefix, value if isinstance(value, str) else json.dumps(value, default=str)


def _key(name: str) -> str:
    """A name with only the characters that MLflow allows."""
    return re.sub(r"[^\w.\-/ ]", "_", name)
