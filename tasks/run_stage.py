"""The Prefect task that drives one stage: asks DVC for it, streams its output, tells its failure."""

import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE

from eyas.cli.interruption import uninterrupted
from eyas.cli.run_view import Step, step
from eyas.errors import EyasError
from eyas.storage import redact
from eyas.storage.disk_space import describe_full_disk
from tasks.dvc_cli import StageResult, repro_stage
from tasks.dvc_lock import require_as_made, require_same_reading
from tasks.key_numbers import key_numbers
from tasks.record import progress_of
from tasks.workspace import Workspace

BAD_INPUT = 2
SECONDS_BETWEEN_REPORTS = 5.0
# What DVC says after every stage; true, and of no use in a flow's log.
CHATTER = (
    "Generating lock file", "Updating lock file", "To track the changes with git", "To enable auto staging",
    "git add ", "dvc config core.autostage", "Use `dvc push`", "ERROR: failed to reproduce",
)  # fmt: skip


class StageOutputHandler:
    """Sends a stage's lines to the flow's log, its progress events to who watches, a progress artifact and ``tell``."""

    def __init__(self, stage: str, shown: Step, tell: Callable[[int, int], None] | None = None) -> None:
        self.logger = get_run_logger()
        self.stage, self.step, self.tell = stage, shown, tell
        self.artifact: Any = None
        self.shown = True
        self.reported = 0.0

    def __call__(self, line: str) -> None:
        """One line of output: an event, or text."""
        with uninterrupted():
            self._take(line)

    def _take(self, line: str) -> None:
        if line.startswith('{"event": "progress"'):
            self._progress(json.loads(line))
        elif line.startswith('{"event": "warning"'):
            self.logger.warning("%s: %s", self.stage, json.loads(line)["text"])
        elif line.strip() and not line.strip().startswith(CHATTER):
            self.logger.info("%s | %s", self.stage, line)

    def _progress(self, event: dict[str, Any]) -> None:
        done, total = event["done"], max(event["total"], 1)
        text = f"{done}/{total} {event['text']}".rstrip()
        self.step.update(done, total, event["text"])
        now = time.monotonic()
        if done < total and now - self.reported < SECONDS_BETWEEN_REPORTS:
            return
        self.reported = now
        self.logger.info("%s | %s", self.stage, text)
        if self.shown:
            self._show(100.0 * done / total, text)
        if self.tell:
            self.tell(done, total)

    def _show(self, share: float, text: str) -> None:
        """The progress artifact, until Prefect takes it no more: progress is no reason to stop a training."""
        try:
            if self.artifact is None:
                self.artifact = create_progress_artifact(share, key=f"{self.stage}-progress", description=text)
            else:
                update_progress_artifact(self.artifact, share, description=text)
        except Exception as error:
            self.shown = False
            self.logger.warning("Prefect shows no progress any more: %s", redact(str(error).strip().split("\n", 1)[0]))


def worth_retrying(_task: Any, _run: Any, state: Any) -> bool:
    """Bad input stays bad, a full disk full; anything else may pass the next time."""
    error = state.result(raise_on_failure=False)
    return not (isinstance(error, EyasError) and (error.exit_status == BAD_INPUT or describe_full_disk(error)))


@task(
    task_run_name="{stage}", cache_policy=NO_CACHE, persist_result=False,
    retry_delay_seconds=[2, 10, 30], retry_condition_fn=worth_retrying,
)  # fmt: skip
def run_stage(stage: str, workspace: Workspace, *, force: bool = False, run_id: str | None = None) -> StageResult:
    """Bring one stage up to date through DVC.

    Args:
        stage: its name.
        workspace: where it runs.
        force: run it even where DVC sees no change.
        run_id: MLflow's parent run, which is told the progress.

    Raises:
        StageError: the stage failed, with its own message.
        ChecksumError: what it would read, or has read, is not what the stages before it wrote.
    """
    folder = Path(workspace.folder)
    require_as_made(folder, before=stage)
    progress = progress_of(run_id, workspace, stage) if run_id else nullcontext(None)
    with step(stage) as shown, progress as tell:
        result = repro_stage(
            folder, stage, workspace.environment(), StageOutputHandler(stage, shown, tell), force=force
        )
        shown.skipped = "unchanged" if result.skipped else ""
        shown.note = key_numbers(stage, workspace.artifacts)
    require_same_reading(folder, stage)
    return result
