"""The run of a stage while it works: its progress and, where it takes long, what it takes of the machine."""

import importlib.util
import logging
import time
from typing import TYPE_CHECKING

from eyas.errors import StorageError
from eyas.operations.tracking.mlflow_store import MlflowStore
from eyas.operations.tracking.runs import log_progress
from eyas.operations.tracking.stage_runs import open_stage_run
from eyas.storage import redact

if TYPE_CHECKING:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

log = logging.getLogger(__name__)

LONG_SECONDS = 60.0
"""A stage that takes longer is watched: CPU, memory, disk, network and, where there is one, GPU."""


class LiveStage:
    """Takes a stage's progress to its run, which is opened by the first of it: one that DVC skips has none.

    What MLflow does not take is left out, with a warning: it is no reason to stop a training.
    """

    def __init__(self, store: MlflowStore, parent_id: str, stage: str) -> None:
        self.store, self.parent_id, self.stage = store, parent_id, stage
        self.started = time.monotonic()
        self.taken = True
        self.run_id = ""
        self.monitor: SystemMetricsMonitor | None = None

    def tell(self, done: int, total: int) -> None:
        """So much of the stage is done."""
        if self.taken:
            self.taken = self._open() and log_progress(self.store, self.run_id, self.stage, done, total)
        if self.taken and self.monitor is None and time.monotonic() - self.started > LONG_SECONDS:
            self._watch_machine()

    def close(self) -> None:
        """Stop watching the machine; the run stays open until the stage is recorded."""
        if self.monitor is not None:
            self.monitor.finish()

    def _open(self) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            self.run_id = self.run_id or open_stage_run(self.store, self.parent_id, self.stage)
        except (MlflowException, StorageError, OSError) as error:
            log.warning("MLflow takes no progress: %s", redact(str(error).split("\n", 1)[0]))
            return False
        return True

    def _watch_machine(self) -> None:
        """MLflow's own metrics of the machine, where psutil is installed, which they need."""
        if importlib.util.find_spec("psutil") is None:
            return
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        self.monitor = SystemMetricsMonitor(self.run_id, tracking_uri=self.store.uri, resume_logging=True)
        self.monitor.start()
