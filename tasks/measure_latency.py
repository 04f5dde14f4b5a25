"""Latency of the exported files, measured by the flow: a time is no output of a stage, for it never repeats."""

import json
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from eyas.config import ExportParams
from eyas.deploy.latency import cpu_name, measure
from eyas.operations.report import LATENCY
from eyas.storage.digests import file_sha256
from tasks.export import FORMATS
from tasks.stage import write_json
from tasks.workspace import Workspace


@task(task_run_name="latency", cache_policy=NO_CACHE, persist_result=False)
def measure_latency(workspace: Workspace) -> None:
    """Bring ``artifacts/latency.json`` up to date; see :func:`write_latency`."""
    write_latency(workspace.params.export, workspace.artifacts)


def write_latency(settings: ExportParams, artifacts: Path) -> dict[str, Any]:
    """Measure every exported ONNX file side by side, unless these very files were measured here with these settings.

    Files that came from DVC's cache were measured elsewhere, or never.
    """
    files, path = onnx_files(settings, artifacts / "export"), artifacts / LATENCY
    how = {
        "files": {name: file_sha256(file) for name, file in files.items()},
        "runs": settings.latency_runs,
        "batch": settings.latency_batch,
        "threads": settings.threads,
        "cpu": cpu_name(),
    }
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if all(known.get(name) == value for name, value in how.items()):
        return known
    shape = tuple(json.loads((artifacts / "export" / "manifest.json").read_text())["input"]["shape"])
    shapes = dict.fromkeys(files, shape)
    measured = how | measure(files, shapes, runs=how["runs"], batch=how["batch"], threads=how["threads"])
    write_json(path, measured)
    return measured


def onnx_files(settings: ExportParams, folder: Path) -> dict[str, Path]:
    """The ONNX files that ``export`` wrote, by name: dense, model, and the kind of each further format."""
    others = {exporter.kind: folder / FORMATS / f"model{exporter.suffix}" for exporter in settings.exporters}
    others.pop("onnx", None)
    files = {"dense": folder / "dense.onnx", "model": folder / "model.onnx", **others}
    return {name: path for name, path in files.items() if path.suffix == ".onnx"}
