"""A bench as a run of MLflow."""

import json

from eyas.deploy.latency.model_bench import Bench
from eyas.operations.tracking.mlflow_store import MlflowStore, retry
from eyas.operations.tracking.runs import closed_on_error, finish_run, log_numbers, start_pipeline


def record_bench(store: MlflowStore, bench: Bench) -> str:
    """Metrics by file, batch and threads, and all of it as ``bench.json``; returns the run's id."""
    tags = {"eyas.kind": "bench", "eyas.cpu": bench.cpu}
    run_id = start_pipeline(store, "bench", params={"runs": bench.runs, "cores": bench.cores}, tags=tags)
    with closed_on_error(store, run_id):
        log_numbers(store, run_id, bench.metrics())
        retry(store.client.log_text, run_id, json.dumps(bench.as_dict(), indent=2), "bench.json")
    finish_run(store, run_id)
    return run_id
