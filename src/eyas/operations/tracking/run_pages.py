"""Where a browser finds what MLflow keeps: of a server its own address, of a file the pages of ``eyas ui``."""

from urllib.parse import quote

from eyas.operations.tracking.mlflow_store import MlflowStore, retry
from eyas.operations.tracking.runs import REPORT, REPORT_PAGES
from eyas.storage import redact

LOCAL = "http://127.0.0.1:5000"
"""Of ``eyas ui``, unless it was given another port."""
MODEL_TRAINING = "?workflowType=machine_learning"
"""MLflow 3.17 opens every page as GenAI that does not end so, until its reader has switched it to model training."""


def experiment_page(store: MlflowStore, server: str) -> str:
    """The runs of the experiment, on a server that shows the store."""
    return f"{server.rstrip('/')}/#/experiments/{store.experiment_id}/runs{MODEL_TRAINING}"


def run_page(store: MlflowStore, run_id: str) -> str:
    """The page of a run."""
    return f"{_page(store, run_id)}{MODEL_TRAINING}"


def report_page(store: MlflowStore, run_id: str) -> str | None:
    """The report of a run in MLflow's viewer; None where it has none."""
    there = {entry.path for entry in retry(store.client.list_artifacts, run_id, REPORT)}
    page = next((page for page in REPORT_PAGES if page in there), None)
    return page and f"{_page(store, run_id)}/artifacts/{page}{MODEL_TRAINING}"


def version_page(store: MlflowStore, model: str, number: str) -> str:
    """The page of a registered version."""
    return f"{_server(store)}/#/models/{quote(model, safe='')}/versions/{number}{MODEL_TRAINING}"


def _page(store: MlflowStore, run_id: str) -> str:
    return f"{_server(store)}/#/experiments/{store.experiment_id}/runs/{run_id}"


def _server(store: MlflowStore) -> str:
    return redact(store.uri).rstrip("/") if store.uri.startswith("http") else LOCAL
