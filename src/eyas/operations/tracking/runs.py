"""Runs: one parent per pipeline run, one child per stage, recorded once per stage key from its files.

A stage that DVC skipped is linked, not recorded again: the parent's tag ``eyas.<stage>.run`` names the run
that made it. A stage that was restored from DVC's cache and is unknown here is recorded from its files.
"""

import csv
import json
import logging
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eyas.errors import StorageError
from eyas.operations.tracking.mlflow_store import ABSENT, MlflowStore, attempt, retry
from eyas.storage import redact, redacted

log = logging.getLogger(__name__)

STAGE = "eyas.stage"
KEY = "eyas.stage_key"
PARENT = "mlflow.parentRunId"
REPORT = "report"
MAX_UPLOAD = 64 * 2**20
"""Bytes; a larger file stays in DVC's cache alone, where the stage key leads to it."""
MAX_VALUE = 500
"""Characters of a parameter's value that are kept."""


@dataclass(frozen=True)
class StageRecord:
    """What the flow knows of a stage that has just been driven."""

    name: str
    key: str
    """Hash of command, dependencies and parameters, as in dvc.lock."""
    folder: Path
    """``artifacts/<stage>``."""
    skipped: bool = False
    """DVC found it up to date."""
    params: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


def start_pipeline(
    store: MlflowStore, name: str, *, params: Mapping[str, Any] | None = None, tags: Mapping[str, str] | None = None
) -> str:
    """Open the parent run of a pipeline run and return its id."""
    run = retry(store.client.create_run, store.experiment_id, run_name=name, tags=dict(tags or {}))
    run_id = str(run.info.run_id)
    _log_params(store, run_id, params or {})
    retry(store.client.log_dict, run_id, redacted(params or {}), "params.json")
    return run_id


def record_stage(store: MlflowStore, parent_id: str, record: StageRecord) -> str:
    """Record a stage from its files, or link the run that made it; returns that run's id.

    The parent carries every stage's metrics too, so that pipeline runs compare side by side.
    """
    run_id = find_stage_run(store, record.name, record.key)
    if run_id is None:
        run_id = _make_stage_run(store, parent_id, record)
    tags = {f"eyas.{record.name}.run": run_id, f"eyas.{record.name}.key": record.key}
    tags[f"eyas.{record.name}.skipped"] = str(record.skipped).lower()
    _log(store, parent_id, metrics=_final_metrics(record), tags=tags)
    if record.name == "fetch":
        _log_dataset(store, parent_id, record)
    return run_id


def find_stage_run(store: MlflowStore, stage: str, key: str) -> str | None:
    """The finished run that recorded this stage under this key."""
    query = f"tags.`{STAGE}` = '{stage}' and tags.`{KEY}` = '{key}' and attributes.status = 'FINISHED'"
    runs = retry(store.client.search_runs, [store.experiment_id], query, max_results=1)
    return str(runs[0].info.run_id) if runs else None


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
        _log(store, run_id, metrics=[(f"{stage}.progress", done / max(total, 1), done)])
    except (MlflowException, StorageError, OSError) as error:
        log.warning("MLflow takes no progress any more: %s", redact(str(error).split("\n", 1)[0]))
        return False
    return True


def log_numbers(store: MlflowStore, run_id: str, numbers: Mapping[str, float]) -> None:
    """Metrics without steps."""
    _log(store, run_id, metrics=[(name, value, 0) for name, value in numbers.items()])


def tag_run(store: MlflowStore, run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags of a run."""
    _log(store, run_id, tags=tags)


def finish_run(store: MlflowStore, run_id: str) -> None:
    """Close a run as finished."""
    retry(store.client.set_terminated, run_id, status="FINISHED")


def fail_run(store: MlflowStore, run_id: str, message: str, log_tail: str = "") -> None:
    """Close a run as failed, with the message as a tag and the end of the log as a file."""
    _log(store, run_id, tags={"eyas.error": redact(message)[:4000], "mlflow.note.content": redact(message)[:4000]})
    if log_tail:
        retry(store.client.log_text, run_id, redact(log_tail), "log_tail.txt")
    retry(store.client.set_terminated, run_id, status="FAILED")


def fail_stage(store: MlflowStore, parent_id: str, stage: str, message: str, log_tail: str = "") -> str:
    """A failed child run of the stage that ended the pipeline run; returns its id."""
    tags = {PARENT: parent_id, STAGE: stage}
    run = retry(store.client.create_run, store.experiment_id, run_name=stage, tags=tags)
    run_id = str(run.info.run_id)
    fail_run(store, run_id, message, log_tail)
    _log(store, parent_id, tags={f"eyas.{stage}.run": run_id})
    return run_id


def log_report(store: MlflowStore, run_id: str, folder: Path) -> None:
    """Upload the report and its pictures."""
    retry(store.client.log_artifacts, run_id, str(folder), REPORT)


def report_address(store: MlflowStore, run_id: str) -> str | None:
    """Where the report of a run lies; None where it has none."""
    place = f"{REPORT}/report.md"
    if all(entry.path != place for entry in retry(store.client.list_artifacts, run_id, REPORT)):
        return None
    return f"{str(retry(store.client.get_run, run_id).info.artifact_uri).rstrip('/')}/{place}"


def _make_stage_run(store: MlflowStore, parent_id: str, record: StageRecord) -> str:
    """A child run with the stage's parameters, metrics, curves and files; failed if that is cut short."""
    start = int((time.time() - record.seconds) * 1000)
    tags = {PARENT: parent_id, STAGE: record.name, KEY: record.key}
    tags["eyas.origin"] = "restored" if record.skipped else "ran"
    run = retry(store.client.create_run, store.experiment_id, start_time=start, run_name=record.name, tags=tags)
    run_id = str(run.info.run_id)
    try:
        _log_params(store, run_id, {record.name: record.params})
        _log(store, run_id, metrics=[*_final_metrics(record), *_history(record)])
        if record.name == "fetch":
            _log_dataset(store, run_id, record)
        _upload(store, run_id, record.folder)
    except BaseException:
        with attempt(f"closing the run of {record.name}"):
            retry(store.client.set_terminated, run_id, status="FAILED")
        raise
    finish_run(store, run_id)
    return run_id


Point = tuple[str, float, int]


def _final_metrics(record: StageRecord) -> list[Point]:
    """``metrics.json`` as ``<stage>.<name>``, and the seconds it took."""
    path = record.folder / "metrics.json"
    values: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    points = [(f"{record.name}.{name}", float(value), 0) for name, value in values.items() if _is_number(value)]
    return points if record.skipped else [*points, (f"{record.name}.seconds", record.seconds, 0)]


def _history(record: StageRecord) -> Iterator[Point]:
    """Every number of ``history.csv``, at the step its ``epoch`` names."""
    path = record.folder / "history.csv"
    if not path.exists():
        return
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            step = int(float(row.pop("epoch")))
            for name, value in row.items():
                if value:
                    yield f"{record.name}.history.{name}", float(value), step


def _log(store: MlflowStore, run_id: str, *, metrics: Any = (), tags: Mapping[str, str] | None = None) -> None:
    """Metrics and tags in as few calls as the server's limit of 1,000 allows."""
    from mlflow.entities import Metric, RunTag

    now = int(time.time() * 1000)
    points = [Metric(_key(name), value, now, step) for name, value, step in metrics]
    run_tags = [RunTag(name, value) for name, value in (tags or {}).items()]
    for start in range(0, max(len(points), 1), 900):
        now_tags = run_tags if start == 0 else []
        retry(store.client.log_batch, run_id, metrics=points[start : start + 900], tags=now_tags)


def _log_params(store: MlflowStore, run_id: str, params: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    flat = [Param(_key(name), value[:MAX_VALUE]) for name, value in _flatten(redacted(params))]
    for start in range(0, len(flat), 100):
        retry(store.client.log_batch, run_id, params=flat[start : start + 100])


def _log_dataset(store: MlflowStore, run_id: str, record: StageRecord) -> None:
    """The data set as MLflow's run input; the digest is the manifest's, cut to the 36 characters allowed."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    path = record.folder / "manifest.json"
    if not path.exists():
        return
    manifest: dict[str, Any] = json.loads(path.read_text())
    source = json.dumps(redacted(manifest.get("source", {})), sort_keys=True)
    profile = json.dumps({split: sum(counts.values()) for split, counts in manifest["splits"].items()})
    digest = str(manifest["digest"])
    data = Dataset(name="images", digest=digest[:36], source_type="uri", source=source, profile=profile)
    inputs = [DatasetInput(data, tags=[InputTag("mlflow.data.context", "training")])]
    retry(store.client.log_inputs, run_id, inputs)
    _log(store, run_id, tags={"eyas.dataset_hash": digest})


def _upload(store: MlflowStore, run_id: str, folder: Path) -> None:
    """Every file of a stage but the data set's own and what is too large for a tracking server."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if not path.is_file() or inside.parts[0] == "files":
            continue
        if path.stat().st_size > MAX_UPLOAD:
            log.info("%s: %.0f MB stay in DVC's cache alone", path, path.stat().st_size / 1e6)
            continue
        place = None if inside.parent == Path() else inside.parent.as_posix()
        retry(store.client.log_artifact, run_id, str(path), place)


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


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
