"""What a pipeline run recorded, as its stages' runs have it: numbers, and the files that were kept."""

import json
from pathlib import Path
from typing import Any

from eyas.errors import BadInputError
from eyas.operations.tracking.mlflow_store import ABSENT, MlflowStore, retry
from eyas.operations.tracking.run_lineage import runs_by_stage
from eyas.operations.tracking.runs import REPORT


def pipeline_tags(store: MlflowStore, run_id: str) -> dict[str, str]:
    """Tags of a pipeline run.

    Raises:
        BadInputError: there is no such run, or it is that of something else.
    """
    from mlflow.exceptions import MlflowException

    try:
        tags: dict[str, str] = retry(store.client.get_run, run_id).data.tags
    except MlflowException as error:
        if error.error_code not in ABSENT:
            raise
        msg = f"{run_id}: MLflow has no such run; `eyas status` and `make ui` show the runs there are"
        raise BadInputError(msg) from None
    if tags.get("eyas.kind") != "pipeline":
        kind = tags.get("eyas.kind") or tags.get("eyas.stage") or "something else"
        msg = f"{run_id} is a run of {kind}: name one of the whole pipeline"
        raise BadInputError(msg)
    return tags


def stage_metrics(store: MlflowStore, run_id: str) -> dict[str, float]:
    """Of the stages that a pipeline run made or linked; as ``<stage>.<name>``.

    Raises:
        BadInputError: there is no such run, or it is that of something else.
    """
    pipeline_tags(store, run_id)
    metrics: dict[str, float] = {}
    for stage, made_by in runs_by_stage(store, run_id).items():
        numbers = retry(store.client.get_run, made_by).data.metrics
        metrics |= {f"{stage}.{name.removeprefix(f'{stage}.')}": value for name, value in numbers.items()}
    return metrics


def report_json(store: MlflowStore, run_id: str, name: str, folder: Path) -> dict[str, Any]:
    """A JSON file beside the report of a pipeline run; empty where it has none."""
    return run_json(store, run_id, f"{REPORT}/{name}", folder)


def run_json(store: MlflowStore, run_id: str, place: str, folder: Path) -> dict[str, Any]:
    """A JSON file of a run, brought into ``folder``; empty where it has none of that name."""
    above, _, _ = place.rpartition("/")
    if all(entry.path != place for entry in retry(store.client.list_artifacts, run_id, above or None)):
        return {}
    content: dict[str, Any] = json.loads(
        Path(retry(store.client.download_artifacts, run_id, place, str(folder))).read_text()
    )
    return content
