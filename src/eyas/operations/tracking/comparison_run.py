"""A comparison as a run of MLflow."""

import json
from collections.abc import Mapping, Sequence

from eyas.operations.tracking.mlflow_store import MlflowStore, retry
from eyas.operations.tracking.runs import MAX_TAG, finish_run, start_pipeline
from eyas.storage import redact


def record_comparison(store: MlflowStore, names: Sequence[str], files: Mapping[str, str], note: str) -> str:
    """The files as artifacts, by name, and the table as the run's description; returns the run's id."""
    tags = {"eyas.kind": "comparison", "eyas.compared": json.dumps(list(names)), "mlflow.note.content": note}
    tags = {name: redact(text)[:MAX_TAG] for name, text in tags.items()}
    run_id = start_pipeline(store, "compare " + ", ".join(names), tags=tags)
    for name, text in files.items():
        retry(store.client.log_text, run_id, text, name)
    finish_run(store, run_id)
    return run_id
