"""Latency of the exported files, measured by the flow: a time is no output of a stage, for it never repeats."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from eyas.config import ExportParams
from eyas.deploy.artifact_gate import judged_share
from eyas.deploy.latency import cpu_name, measure
from eyas.deploy.runtimes import Runtime
from eyas.operations.recommendation import REFERENCE, MeasuredArtifact, recommend
from eyas.operations.report import LATENCY
from eyas.operations.run_times import RunTimes
from eyas.storage.digests import file_sha256
from tasks.export import FILES, FORMATS
from tasks.stage import write_json
from tasks.workspace import Workspace


@task(task_run_name="latency", cache_policy=NO_CACHE, persist_result=False)
def measure_latency(workspace: Workspace) -> None:
    """Bring ``artifacts/latency.json`` up to date; see :func:`write_latency`."""
    write_latency(workspace.params.export, workspace.artifacts)


def write_latency(settings: ExportParams, artifacts: Path) -> dict[str, Any]:
    """Measure every exported file side by side, unless these very files were measured here with these settings.

    Files that came from DVC's cache were measured elsewhere, or never. Those whose runtime is not installed here are
    left out, and listed as such.
    """
    folder, path = artifacts / "export", artifacts / LATENCY
    files = exported_files(settings, folder)
    ready = {name: file for name, (file, runtime) in files.items() if runtime.installed()}
    how = {
        "files": {name: file_sha256(file) for name, file in ready.items()},
        "runs": settings.latency_runs,
        "batch": settings.latency_batch,
        "threads": settings.threads,
        "cpu": cpu_name(),
        "not_measured": {name: f"{files[name][1].package} is not installed" for name in files if name not in ready},
    }
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    measured = known
    if any(known.get(name) != value for name, value in how.items()):
        shape = tuple(json.loads((folder / "manifest.json").read_text())["input"]["shape"])
        runtimes = {name: files[name][1] for name in ready}
        options = {"runs": how["runs"], "batch": how["batch"], "threads": how["threads"], "runtimes": runtimes}
        measured = how | measure(ready, dict.fromkeys(ready, shape), **options)
    measured = measured | recommended(settings, folder, measured["milliseconds"])
    if measured != known:
        write_json(path, measured)
    return measured


def exported_files(settings: ExportParams, folder: Path) -> dict[str, tuple[Path, Runtime]]:
    """The files that ``export`` wrote and their runtimes, by name: dense, model, and the kind of each further format.

    A runtime that may compute in another precision is listed in each.
    """
    others = {exporter.kind: exporter for exporter in settings.exporters if exporter.kind != "onnx"}
    onnx = Runtime.parse("onnx")
    files = {"dense": (folder / "dense.onnx", onnx), "model": (folder / "model.onnx", onnx)}
    for kind, exporter in others.items():
        path, runtime = folder / FORMATS / f"model{exporter.suffix}", Runtime.parse(exporter.runtime)
        files[kind] = (path, runtime)
        files |= {f"{kind} ({word})": (path, other) for word, other in runtime.alternatives().items()}
    return files


def is_on_device(settings: ExportParams, name: str, files: Mapping[str, tuple[Path, Runtime]]) -> bool:
    """Whether the device has the runtime of a file, and float32 ONNX in any case."""
    return name == REFERENCE or not settings.runtimes or (name in files and files[name][1] in settings.runtimes)


def recommended(settings: ExportParams, folder: Path, milliseconds: Mapping[str, Any]) -> dict[str, Any]:
    """Which file the device should get; nothing where ``export`` did not measure accuracies yet."""
    if not (folder / FILES).exists():
        return {}
    artifacts: dict[str, MeasuredArtifact] = {}
    files, measure = exported_files(settings, folder), ""
    for name, facts in json.loads((folder / FILES).read_text()).items():
        measure = judged_share(facts)[0].partition(" ")[0]
        words = {name: facts} | {f"{name} ({word})": other for word, other in facts["alternatives"].items()}
        artifacts |= {
            label: MeasuredArtifact(judged_share(one)[1], RunTimes.of(milliseconds[label]), facts["bytes"])
            for label, one in words.items()
            if label in milliseconds and name != "dense" and is_on_device(settings, label, files)
        }
    return {"recommended": asdict(recommend(artifacts, settings.max_accuracy_drop, measure))}
