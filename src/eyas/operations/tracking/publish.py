"""Entering a network into the registry: an MLflow model that loads without our code, and its lineage."""

import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eyas.deploy.bundle import served_bundle
from eyas.deploy.bundle.contents import BUNDLE
from eyas.operations.lineage import Lineage
from eyas.operations.tracking.candidate_alias import CandidateAlias
from eyas.operations.tracking.mlflow_store import MlflowStore, retry
from eyas.operations.tracking.model_registry import (
    CANDIDATE,
    CODE,
    FILES,
    MANIFEST_DIGEST,
    Version,
    as_version,
    find_version,
    read_manifest,
    set_alias,
    tag_version,
)
from eyas.operations.tracking.version_record import as_record, readable
from eyas.storage import redacted
from eyas.storage.digests import json_sha256

REQUIREMENTS = ["numpy", "onnxruntime", "pillow"]
"""What a version needs where it is served."""
NEWEST = "### Newest version:"
"""How the description of a model begins that was not written by a person."""


def register_version(
    store: MlflowStore,
    name: str,
    export: Path,
    lineage: Lineage,
    *,
    shape: Sequence[int],
    metrics: Mapping[str, float] | None = None,
    headline: Mapping[str, float] | None = None,
    tags: Mapping[str, str] | None = None,
    description: str = "",
    extra_files: Sequence[Path] = (),
    alias: CandidateAlias | None = None,
) -> Version:
    """Enter the exported network as a version with the alias of a candidate; an equal one is found, not made.

    Args:
        store: an opened store.
        name: of the registered model.
        export: ``artifacts/export`` with its ``manifest.json``; every file listed there is carried over.
        lineage: where the network came from.
        shape: of one image, ``(C, H, W)``.
        metrics: what is known of the network, as ``<stage>.<name>``; kept with the version.
        headline: the few of them that its page shows, by their own names.
        tags: further ones of the version; a version that is found gets them anew, and the description.
        description: what the registry's pages show of the version, and of the model as its newest.
        extra_files: carried beside the listed ones (``dvc.lock``, the report, latencies).
        alias: whose candidate it is; without it ``candidate`` moves, whatever it names.

    Raises:
        ChecksumError: a file under ``export`` is not what the manifest says.
        StorageError: the registry cannot be reached.
    """
    manifest = read_manifest(export)
    tags = dict(tags or {}) | (alias.tags() if alias else {})
    all_tags = tags | lineage.tags() | {MANIFEST_DIGEST: json_sha256(manifest)}
    all_tags["eyas.metrics"] = json.dumps(dict(metrics or {}), sort_keys=True)
    with store.lock("registry"):
        _ensure_model(store, name)
        version = find_version(store, name, lineage.stages_digest, json_sha256(manifest))
        if version is None:
            with tempfile.TemporaryDirectory() as scratch:
                folder = _model_folder(Path(scratch) / "model", export, shape)
                _add_files(folder / FILES, export, manifest, lineage, extra_files)
                if (folder / FILES / BUNDLE).is_dir():
                    _serve_bundle(folder, masks="task" in manifest)
                version = _create(store, name, folder, lineage.run_id, tags=all_tags, metrics=headline or {})
        elif tags:
            tag_version(store, version, tags)
        retry(store.client.update_model_version, name, version.number, description)
        _describe_model(store, version, description)
        set_alias(store, name, alias.name_in(store, name) if alias else CANDIDATE, version.number)
    return version


def _ensure_model(store: MlflowStore, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        retry(store.client.create_registered_model, name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _describe_model(store: MlflowStore, version: Version, description: str) -> None:
    """Say on the model's page what its newest version is worth; words that a person wrote there stay."""
    words = retry(store.client.get_registered_model, version.name).description or ""
    if description and (not words or words.startswith(NEWEST)):
        text = f"{NEWEST} {version.number}\n\n{description}"
        retry(store.client.update_registered_model, version.name, text)


def _model_folder(folder: Path, export: Path, shape: Sequence[int]) -> Path:
    """An MLflow model of the ONNX flavour (no pickle), whose file is the exported one, byte for byte."""
    import mlflow.onnx
    import onnx

    mlflow.onnx.save_model(
        onnx.load(export / "model.onnx"),
        folder,
        signature=_signature(export / "model.onnx", shape),
        pip_requirements=REQUIREMENTS,
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,
    )
    shutil.copyfile(export / "model.onnx", folder / "model.onnx")
    return folder


def _serve_bundle(folder: Path, *, masks: bool) -> None:
    """Let the model's ``python_function`` be the bundle among its files: class names from images, or ``masks``.

    The ONNX flavour stays as it is, for those who ask the network itself.
    """
    import mlflow.pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Map

    (folder / "code").mkdir()
    shutil.copyfile(served_bundle.__file__, folder / "code" / "served_bundle.py")
    model = Model.load(folder)
    environment = model.flavors[mlflow.pyfunc.FLAVOR_NAME][mlflow.pyfunc.ENV]
    served = {"loader_module": "served_bundle", "code": "code", "data": f"{FILES}/{BUNDLE}"}
    mlflow.pyfunc.add_to_model(model, **served, conda_env=environment["conda"], python_env=environment["virtualenv"])
    answer = [ColSpec(DataType.string, "class"), ColSpec(DataType.double, "probability")]
    answer.append(ColSpec(Map(DataType.double), "probabilities"))
    if masks:
        answer = [ColSpec(DataType.string, "mask"), ColSpec(Map(DataType.double), "shares")]
    model.signature = ModelSignature(Schema([ColSpec(DataType.binary, "image")]), Schema(answer))
    model.save(folder / "MLmodel")


def _add_files(
    folder: Path, export: Path, manifest: Mapping[str, Any], lineage: Lineage, extra_files: Sequence[Path]
) -> None:
    """What rebuilds, explains and reproduces the network: weights, plan, manifest, parameters, code, lock file."""
    for name in (*manifest["files"], "manifest.json"):
        if (export / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(export / name, folder / name)
    (folder / "params.json").write_text(json.dumps(redacted(lineage.params), indent=2, sort_keys=True))
    (folder / CODE).write_text(json.dumps(lineage.code, indent=2, sort_keys=True))
    for path in extra_files:
        if path.exists():
            shutil.copyfile(path, folder / path.name)


def _signature(path: Path, shape: Sequence[int]) -> Any:
    """Names, types and shapes of input and output; the batch size is free."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    from eyas.deploy.runtimes.onnx_runtime import inference_session

    opened = inference_session(path)
    single = np.dtype("float32")
    inputs = [TensorSpec(single, (-1, *shape), opened.get_inputs()[0].name)]
    outputs = [TensorSpec(single, (-1, *out.shape[1:]), out.name) for out in opened.get_outputs()]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))


def _create(
    store: MlflowStore, name: str, folder: Path, run_id: str, *, tags: Mapping[str, str], metrics: Mapping[str, float]
) -> Version:
    """Upload the folder as a logged model, then name it a version, which appears with all its tags at once."""
    from mlflow.entities import LoggedModelOutput, Metric

    client = store.client
    plain = name.replace(".", "_")  # a registered model may have dots in its name, a logged one may not
    model = retry(
        client.create_logged_model, store.experiment_id, name=plain, source_run_id=run_id, tags=readable(tags)
    )
    retry(client.log_model_artifacts, model.model_id, str(folder))
    retry(client.finalize_logged_model, model.model_id, "READY")
    retry(client.log_outputs, run_id, [LoggedModelOutput(model.model_id, step=0)])
    if metrics:
        now = int(time.time() * 1000)
        points = [Metric(name, value, now, 0, model_id=model.model_id) for name, value in metrics.items()]
        retry(client.log_batch, run_id, metrics=points)
    all_tags = as_record({**tags, "eyas.logged_model": model.model_id})
    # The source is the place itself: a "models:/" address would be looked up in the process's default store.
    source, create = model.artifact_location, client.create_model_version
    return as_version(retry(create, name, source=source, run_id=run_id, model_id=model.model_id, tags=all_tags))
