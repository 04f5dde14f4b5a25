"""A comparison as a run of MLflow."""

import json
from collections.abc import Mapping, Sequence

from eyas.operations.tracking.mlflow_store import MlflowStore, retry
from eyas.operations.tracking.runs import MAX_TAG, NOTE, closed_on_error, finish_run, start_pipeline
from eyas.storage import redact

MAX_NAME = 250
"""Characters of a run's name that MLflow takes."""


def record_comparison(
    store: MlflowStore, name: str, addresses: Sequence[str], files: Mapping[str, str], note: str, *, links: str = ""
) -> str:
    """A run of its own; returns its id.

    Args:
        store: an opened store.
        name: of the run.
        addresses: what was compared.
        files: artifacts, by name.
        note: the run's description.
        links: its end, which holds no secret: addresses in it stay whole.
    """
    tags = {"eyas.kind": "comparison", "eyas.compared": json.dumps(list(addresses))}
    tags = {tag: redact(text)[:MAX_TAG] for tag, text in tags.items()}
    tags[NOTE] = f"{redact(note)[: max(MAX_TAG - len(links), 0)]}{links}"[:MAX_TAG]
    run_id = start_pipeline(store, name[:MAX_NAME], tags=tags)
    with closed_on_error(store, run_id):
        for file, text in files.items():
            retry(store.client.log_text, run_id, text, file)
    finish_run(store, run_id)
    return run_id
