"""An adaptation as a run of MLflow: what was looked at, what came of it, and why."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eyas.errors import RefusedError
from eyas.operations.tracking.alias_move import MAX_REASON, OUTCOME, REASON
from eyas.operations.tracking.mlflow_store import MlflowStore, attempt, retry
from eyas.operations.tracking.model_registry import Version
from eyas.operations.tracking.runs import (
    NOTE,
    closed_on_error,
    fail_run,
    finish_run,
    log_numbers,
    start_pipeline,
    tag_run,
)
from eyas.storage import redact

ADAPTED_FROM = "eyas.adapted_from"
"""Tag of a version whose network followed images of the field: its parent's ``name/number``."""


@dataclass(frozen=True)
class AdaptationRecord:
    """The run, while it is open."""

    store: MlflowStore
    run_id: str

    def log_json(self, name: str, content: Any) -> None:
        """Keep plain data as a file."""
        retry(self.store.client.log_text, self.run_id, json.dumps(content, indent=2, sort_keys=True), f"{name}.json")

    def log_file(self, path: Path) -> None:
        """Keep a file, such as a picture."""
        retry(self.store.client.log_artifact, self.run_id, str(path))

    def log_numbers(self, numbers: Mapping[str, float]) -> None:
        """Keep numbers as metrics."""
        log_numbers(self.store, self.run_id, numbers)

    def close(self, outcome: str, reason: str) -> None:
        """End the run with what came of it."""
        reason = redact(reason)[:MAX_REASON]
        tag_run(self.store, self.run_id, {OUTCOME: outcome, REASON: reason, NOTE: reason})
        finish_run(self.store, self.run_id)


@contextmanager
def adaptation_run(
    store: MlflowStore, version: Version, *, params: Mapping[str, Any], tags: Mapping[str, str]
) -> Iterator[AdaptationRecord]:
    """Open the run of an adaptation of a version; a refusal closes it as one, any other error as failed.

    Args:
        store: an opened store.
        version: what is adapted.
        params: of the adaptation.
        tags: what a person reads of it.
    """
    known = {"eyas.kind": "adaptation", "eyas.model": version.name, "eyas.version": version.number}
    run_id = start_pipeline(store, f"adaptation-{version.name}-{version.number}", params=params, tags={**known, **tags})
    record = AdaptationRecord(store, run_id)
    try:
        yield record
    except RefusedError as error:
        with closed_on_error(store, run_id):
            record.close("refused", str(error))
        raise
    except BaseException as error:
        with attempt("recording the failure"):
            killed = not isinstance(error, Exception)
            fail_run(store, run_id, str(error) or type(error).__name__, killed=killed)
        raise


def parent_of(version: Version) -> tuple[str, str] | None:
    """Name and number of the version that an adapted one came from; None for any other."""
    name, _, number = version.tags.get(ADAPTED_FROM, "").rpartition("/")
    return (name, number) if number else None
