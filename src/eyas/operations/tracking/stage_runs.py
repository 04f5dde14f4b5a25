"""Runs of stages: one child of the pipeline's run per stage, recorded once per stage key from its files.

A stage that DVC skipped is linked, not recorded again: the parent's ``lineage.json`` names the run that made it. A
stage that was restored from DVC's cache and is unknown here is recorded from its files. While a stage works, its run
is open and shows the progress, see :mod:`eyas.operations.tracking.live_stage`.
"""

import csv
import json
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eyas.data.manifest import images_per_split
from eyas.operations.tracking.mlflow_store import ABSENT, MlflowStore, retry
from eyas.operations.tracking.run_lineage import add_lineage, runs_by_stage
from eyas.operations.tracking.runs import PARENT, closed_on_error, fail_run, finish_run, log_batch, log_params
from eyas.storage import redacted

log = logging.getLogger(__name__)

STAGE = "eyas.stage"
KEY = "eyas.stage_key"
MAX_UPLOAD = 64 * 2**20
"""Bytes; a larger file stays in DVC's cache alone, where the stage key leads to it."""


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


def record_stage(store: MlflowStore, parent_id: str, record: StageRecord) -> str:
    """Record a stage from its files, or link the run that made it; returns that run's id."""
    run_id = find_stage_run(store, record.name, record.key)
    if run_id is None:
        run_id = _make_stage_run(store, parent_id, record)
    made = {"run": run_id, "key": record.key, "skipped": record.skipped}
    facts: dict[str, Any] = {"stages": {record.name: made}}
    if record.name == "fetch":
        facts |= _log_dataset(store, parent_id, record)
    add_lineage(store, parent_id, facts)
    return run_id


def find_stage_run(store: MlflowStore, stage: str, key: str) -> str | None:
    """The finished run that recorded this stage under this key."""
    query = f"tags.`{STAGE}` = '{stage}' and tags.`{KEY}` = '{key}' and attributes.status = 'FINISHED'"
    runs = retry(store.client.search_runs, [store.experiment_id], query, max_results=1)
    return str(runs[0].info.run_id) if runs else None


def download_stage_file(store: MlflowStore, parent_id: str, stage: str, name: str, folder: Path) -> Path | None:
    """A file that a stage of a pipeline run left, brought to ``folder``; None where the run or the file is gone."""
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        run_id = runs_by_stage(store, parent_id).get(stage)
        if run_id is None or all(entry.path != name for entry in retry(store.client.list_artifacts, run_id)):
            return None
    except MlflowException as error:
        if error.error_code not in ABSENT:
            raise
        return None
    options = {"run_id": run_id, "artifact_path": name, "dst_path": str(folder), "tracking_uri": store.uri}
    return Path(retry(download_artifacts, **options))


def fail_stage(store: MlflowStore, parent_id: str, stage: str, message: str, log_tail: str = "") -> str:
    """Close the run of the stage that ended the pipeline run as failed; returns its id."""
    run_id = open_stage_run(store, parent_id, stage)
    fail_run(store, run_id, message, log_tail)
    add_lineage(store, parent_id, {"stages": {stage: {"run": run_id, "failed": True}}})
    return run_id


def open_stage_run(store: MlflowStore, parent_id: str, stage: str, started: int | None = None) -> str:
    """The child run of a stage that works now, which is opened where it is not; ``started`` in ms since 1970."""
    running = running_stages(store, parent_id, stage)
    if running:
        return running[0]
    tags = {PARENT: parent_id, STAGE: stage}
    run = retry(store.client.create_run, store.experiment_id, start_time=started, run_name=stage, tags=tags)
    return str(run.info.run_id)


def running_stages(store: MlflowStore, parent_id: str, stage: str | None = None) -> list[str]:
    """Open child runs of a pipeline run, of one stage or of any."""
    query = f"tags.`{PARENT}` = '{parent_id}' and attributes.status = 'RUNNING'"
    query += f" and tags.`{STAGE}` = '{stage}'" if stage else ""
    return [str(run.info.run_id) for run in retry(store.client.search_runs, [store.experiment_id], query)]


def _make_stage_run(store: MlflowStore, parent_id: str, record: StageRecord) -> str:
    """A child run with the stage's parameters, metrics, curves and files; failed or killed if that is cut short."""
    run_id = open_stage_run(store, parent_id, record.name, int((time.time() - record.seconds) * 1000))
    tags = {KEY: record.key, "eyas.origin": "restored" if record.skipped else "ran"}
    with closed_on_error(store, run_id):
        log_params(store, run_id, {record.name: record.params})
        log_batch(store, run_id, metrics=[*_final_metrics(record), *_history(record)], tags=tags)
        if record.name == "fetch":
            _log_dataset(store, run_id, record)
        _upload(store, run_id, record.folder)
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


def _log_dataset(store: MlflowStore, run_id: str, record: StageRecord) -> dict[str, str]:
    """The data set as MLflow's run input, its digest cut to the 36 characters allowed; returns the whole one."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    path = record.folder / "manifest.json"
    if not path.exists():
        return {}
    manifest: dict[str, Any] = json.loads(path.read_text())
    source = json.dumps(redacted(manifest.get("source", {})), sort_keys=True)
    profile = json.dumps(images_per_split(manifest))
    digest = str(manifest["digest"])
    data = Dataset(name="images", digest=digest[:36], source_type="uri", source=source, profile=profile)
    inputs = [DatasetInput(data, tags=[InputTag("mlflow.data.context", "training")])]
    retry(store.client.log_inputs, run_id, inputs)
    return {"dataset_hash": digest}


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


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
