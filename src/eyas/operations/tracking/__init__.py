"""Everything that touches MLflow: runs, the model registry, and the way back from a version to its making.

MLflow itself is imported when a store is opened, so that importing this package costs nothing.
"""

from eyas.operations.tracking.mlflow_store import MlflowStore, attempt, open_store, tracking_uri
from eyas.operations.tracking.model_registry import Version
from eyas.operations.tracking.publish import register_version
from eyas.operations.tracking.runs import (
    fail_run,
    finish_run,
    log_progress,
    log_report,
    log_verdict,
    report_address,
    run_exists,
    start_pipeline,
    tag_run,
)
from eyas.operations.tracking.stage_runs import StageRecord, download_stage_file, fail_stage, record_stage

__all__ = [
    "MlflowStore",
    "StageRecord",
    "Version",
    "attempt",
    "download_stage_file",
    "fail_run",
    "fail_stage",
    "finish_run",
    "log_progress",
    "log_report",
    "log_verdict",
    "open_store",
    "record_stage",
    "register_version",
    "report_address",
    "run_exists",
    "start_pipeline",
    "tag_run",
    "tracking_uri",
]
