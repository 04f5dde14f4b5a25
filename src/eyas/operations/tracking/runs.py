"""Runs of MLflow: opening, writing and closing them; their stages are in :mod:`eyas.operations.tracking.stage_runs`."""

import json
import logging
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eyas.errors import StorageError
from eyas.operations.tracking.mlflow_store import ABSENT, MlflowStore, attempt, mark_experiment, retry
from eyas.operations.verdict import Verdict
from eyas.storage import redact, redacted

log = logging.getLogger(__name__)

PARENT = "mlflow.parentRunId"
NOTE = "mlflow.note.content"
"""Tag: the description that a run's page shows."""
REPORT = "report"
REPORT_PAGES = (f"{REPORT}/report.html", f"{REPORT}/report.md")
"""The first that is there is the one to look at."""
MAX_TAG = 5000
"""Characters of a tag that MLflow keeps."""
MAX_VALUE = 500
"""Characters of a parameter's value that are kept."""


def start_pipeline(
    store: MlflowStore,
    name: str,
    *,
    params: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
) -> str:
    """Open the parent run of a pipeline run and return its id.

    Args:
        store: an opened store.
        name: of the run.
        params: what its page and a comparison show of the parameters.
        settings: all of them, for the file ``params.yaml``.
        tags: what a person reads of it.
    """
    mark_experiment(store)
    run = retry(store.client.create_run, store.experiment_id, run_name=name, tags=dict(tags or {}))
    run_id = str(run.info.run_id)
    with closed_on_error(store, run_id):
        log_params(store, run_id, params or {})
        if settings:
            retry(store.client.log_dict, run_id, redacted(settings), "params.yaml")
    return run_id


@contextmanager
def closed_on_error(store: MlflowStore, run_id: str) -> Iterator[None]:
    """A run that is written here is closed as failed, or as killed from outside, if that is cut short."""
    try:
        yield
    except BaseException as error:
        with attempt("recording the failure"):
            fail_run(store, run_id, str(error) or type(error).__name__, killed=not isinstance(error, Exception))
        raise


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
    """Share of a stage that is done, as a stepped metric of its run.

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


def drop_tag(store: MlflowStore, run_id: str, tag: str) -> None:
    """Take a tag away from a run; one that is not there is no error."""
    if tag in retry(store.client.get_run, run_id).data.tags:
        retry(store.client.delete_tag, run_id, tag)


def fail_run(store: MlflowStore, run_id: str, message: str, log_tail: str = "", *, killed: bool = False) -> None:
    """Close a run as failed or killed, with the message as a tag and the end of the log as a file."""
    log_batch(store, run_id, tags={"eyas.error": redact(message)[:4000], NOTE: redact(message)[:4000]})
    if log_tail:
        retry(store.client.log_text, run_id, redact(log_tail), "log_tail.txt")
    retry(store.client.set_terminated, run_id, status="KILLED" if killed else "FAILED")


def log_report(store: MlflowStore, run_id: str, folder: Path, *files: Path) -> None:
    """Upload the report and its pictures, and further files beside them."""
    retry(store.client.log_artifacts, run_id, str(folder), REPORT)
    for file in files:
        retry(store.client.log_artifact, run_id, str(file), REPORT)


def log_result(
    store: MlflowStore, run_id: str, verdict: Verdict, *, description: str, metrics: Mapping[str, float]
) -> None:
    """What a result is worth: tags, the metrics that count, and the run's description."""
    log_numbers(store, run_id, metrics)
    log_batch(store, run_id, tags=verdict_tags(verdict) | {NOTE: redact(description)[:MAX_TAG]})


def verdict_tags(verdict: Verdict) -> dict[str, str]:
    """The verdict and the names of its remarks; its words stand in the description."""
    words = {name: redact(text)[:MAX_TAG] for name, text in verdict.tags().items() if name != "eyas.verdict.text"}
    return {name: text for name, text in words.items() if text}


def report_address(store: MlflowStore, run_id: str) -> str | None:
    """Where the report of a run lies; None where it has none."""
    there = {entry.path for entry in retry(store.client.list_artifacts, run_id, REPORT)}
    place = next((page for page in REPORT_PAGES if page in there), None)
    if place is None:
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
