"""Everything that touches MLflow: runs, the model registry, and the way back from a version to its making.

MLflow itself is imported when a store is opened, so that importing this package costs nothing.
"""

from eyas.operations.tracking.mlflow_store import MlflowStore, attempt, is_unused, open_store, tracking_uri
from eyas.operations.tracking.model_registry import Version
from eyas.operations.tracking.publish import register_version
from eyas.operations.tracking.run_lineage import add_lineage, runs_by_stage
from eyas.operations.tracking.runs import (
    drop_tag,
    fail_run,
    finish_run,
    log_progress,
    log_report,
    log_result,
    report_address,
    run_exists,
    start_pipeline,
    tag_run,
)
from eyas.operations.tracking.stage_runs import (
    StageRecord,
    download_stage_file,
    fail_stage,
    record_stage,
    running_stages,
)

__all__ = [
    "MlflowStore",
    "StageRecord",
    "Version",
    "add_lineage",
    "attempt",
    "download_stage_file",
    "drop_tag",
    "fail_run",
    "fail_stage",
    "finish_run",
    "is_unused",
    "log_progress",
    "log_report",
    "log_result",
    "open_store",
    "record_stage",
    "register_version",
    "report_address",
    "run_exists",
    "running_stages",
    "runs_by_stage",
    "start_pipeline",
    "tag_run",
    "tracking_uri",
]
