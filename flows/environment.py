"""Keeps the state of Prefect, MLflow and DVC inside the checkout; the package does so when it is imported."""

import logging
import os
import sys
from pathlib import Path
from typing import Any

from eyas.errors import EyasError

ROOT = Path(__file__).resolve().parent.parent

DEFAULTS = {
    "PREFECT_HOME": str(ROOT / ".eyas" / "prefect"),
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
    "PREFECT_LOGGING_LEVEL": "INFO",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # MLflow's server starts job runners (for its LLM features) that this project never uses.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "DVC_NO_ANALYTICS": "true",
    "DVC_GLOBAL_CONFIG_DIR": str(ROOT / ".eyas" / "dvc-global"),
    "DVC_SITE_CACHE_DIR": str(ROOT / ".eyas" / "dvc-site"),
}


def configure() -> None:
    """Set what the user has not set, and make Prefect's folder: it makes no parents itself."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(_plain_errors)
    if "prefect" in sys.modules:  # as in a worker, which imports a flow long after Prefect has read its settings
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()


def _plain_errors(record: logging.LogRecord) -> bool:
    """Errors that explain themselves need no traceback of Prefect's engine."""
    error: Any = record.exc_info[1] if record.exc_info else None
    if isinstance(error, EyasError):
        record.exc_info = None
        record.exc_text = None
        record.msg, record.args = "%s", (str(error),)
    return True
