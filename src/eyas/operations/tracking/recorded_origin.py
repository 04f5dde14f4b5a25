"""Where a network came from, as MLflow has it: run, version, and their pages."""

from collections.abc import Mapping
from datetime import UTC, datetime

from eyas.operations.comparison.network_origin import NetworkOrigin
from eyas.operations.report.page_title import data_name
from eyas.operations.tracking.mlflow_store import MlflowStore, retry
from eyas.operations.tracking.model_registry import Version, as_version, find_version
from eyas.operations.tracking.run_pages import report_page, run_page, version_page
from eyas.operations.tracking.runs import PARENT, run_exists
from eyas.operations.tracking.stage_runs import find_stage_run
from eyas.storage.digests import json_sha256


def recorded_origin(store: MlflowStore, run_id: str, version: Version | None = None) -> NetworkOrigin:
    """Of a pipeline run and, if it has one, a version; without ``version`` that of the run, if it registered any."""
    version = version or _version_of(store, run_id)
    name, pages = "", {}
    if version is not None:
        name, pages = str(version), {"version": version_page(store, version.name, version.number)}
    if not run_id or not run_exists(store, run_id):
        return NetworkOrigin(version=name, pages=pages)
    run = retry(store.client.get_run, run_id)
    pages["run"] = run_page(store, run_id)
    if report := report_page(store, run_id):
        pages["report"] = report
    params: Mapping[str, str] = run.data.params
    return NetworkOrigin(
        architecture=params.get("baseline.arguments.name", params.get("baseline.architecture", "")),
        data=data_name({"source": {"train": params["fetch.train"]}}) if "fetch.train" in params else "",
        date=datetime.fromtimestamp(run.info.start_time / 1000, UTC).strftime("%Y-%m-%d"),
        run_id=run_id,
        version=name,
        pages=pages,
        settings=dict(params) if "fetch.train" in params else {},  # an adaptation's run has its own alone
    )


def origin_of_stages(store: MlflowStore, stage_keys: Mapping[str, str]) -> NetworkOrigin:
    """Of whatever these stages made: the run that registered it, else the one that recorded its export."""
    export = find_stage_run(store, "export", stage_keys["export"])
    made_by = retry(store.client.get_run, export).data.tags.get(PARENT, "") if export else ""
    model = retry(store.client.get_run, made_by).data.tags.get("eyas.model", "") if made_by else ""
    version = find_version(store, model, json_sha256(dict(stage_keys))) if model else None
    return recorded_origin(store, version.run_id if version else made_by, version)


def _version_of(store: MlflowStore, run_id: str) -> Version | None:
    if not run_id:
        return None
    entries = retry(store.client.search_model_versions, f"run_id = '{run_id}'")
    versions = sorted(map(as_version, entries), key=lambda version: int(version.number))
    return versions[-1] if versions else None
