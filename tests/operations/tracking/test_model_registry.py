import json
from pathlib import Path

import numpy as np
import pytest

from eyas.deploy.runtimes.onnx_runtime import inference_session
from eyas.errors import BadInputError, ChecksumError
from eyas.operations.lineage import Lineage
from eyas.operations.tracking import MlflowStore, model_registry
from eyas.operations.tracking.publish import register_version
from eyas.storage.digests import file_sha256

KEYS = {"fetch": "1" * 64, "export": "2" * 64}


def register(
    store: MlflowStore, name: str, export: Path, lineage: Lineage, **options: object
) -> model_registry.Version:
    return register_version(store, name, export, lineage, shape=(1, 8, 8), **options)  # type: ignore[arg-type]


def test_version_has_files_signature_lineage_and_alias(
    store: MlflowStore, make_export, make_lineage, tmp_path: Path
) -> None:
    export = make_export(1)
    lineage = make_lineage(KEYS, git_commit="c" * 40, git_dirty=True, params={"score": {"seed": 0}})
    known = {"metrics": {"finetune.test_accuracy": 0.9}, "headline": {"test_accuracy": 0.9}}
    version = register(store, "whole", export, lineage, **known)
    assert (
        model_registry.get_alias(store, "whole", "candidate")
        == model_registry.get_version(store, "whole", 1)
        == version
    )
    back = version.lineage
    assert back.stage_keys == KEYS
    assert (back.git_commit, back.git_dirty, back.run_id) == ("c" * 40, True, lineage.run_id)
    files = model_registry.download(store, version, tmp_path / "down")
    assert (files / "model.onnx").read_bytes() == (export / "model.onnx").read_bytes()
    assert json.loads((files / "params.json").read_text()) == {"score": {"seed": 0}}
    model = store.client.get_logged_model(version.tags["eyas.logged_model"])
    assert {metric.key: metric.value for metric in model.metrics} == {"test_accuracy": 0.9}
    assert version.metrics == {"finetune.test_accuracy": 0.9}
    (output,) = store.client.get_run(lineage.run_id).outputs.model_outputs
    assert output.model_id == model.model_id


def test_words_of_a_person_on_a_model_s_page_stay(store: MlflowStore, make_export, make_lineage) -> None:
    def described(number: int) -> str:
        register(store, "described", make_export(1), make_lineage({"export": f"{number}"}), description=f"{number}")
        return str(store.client.get_registered_model("described").description)

    assert described(1) == "### Newest version: 1\n\n1"
    assert described(2) == "### Newest version: 2\n\n2"
    store.client.update_registered_model("described", "Counts sheep.")
    assert described(3) == "Counts sheep."


def test_mlflow_loads_the_version_and_computes_the_same(
    store: MlflowStore, make_export, make_lineage, tmp_path: Path
) -> None:
    import mlflow.artifacts
    import mlflow.pyfunc

    export = make_export(1)
    version = register(store, "loads", export, make_lineage(KEYS))
    place = {"artifact_uri": version.source, "dst_path": str(tmp_path), "tracking_uri": store.uri}
    model = mlflow.pyfunc.load_model(mlflow.artifacts.download_artifacts(**place))
    images = np.random.default_rng(0).standard_normal((3, 1, 8, 8), dtype=np.float32)
    expected = inference_session(export / "model.onnx").run(None, {"images": images})[0]
    np.testing.assert_array_equal(model.predict(images)["logits"], expected)
    (column,) = model.metadata.signature.inputs.inputs
    assert (column.name, column.shape) == ("images", (-1, 1, 8, 8))


def test_equal_files_from_equal_keys_are_one_version(store: MlflowStore, make_export, make_lineage) -> None:
    first = register(store, "once", make_export(1), make_lineage(KEYS))
    models = len(store.client.search_logged_models([store.experiment_id]))
    second = register(store, "once", make_export(1), make_lineage(KEYS), tags={"eyas.note": "again"})
    assert second.number == first.number
    assert len(store.client.search_logged_models([store.experiment_id])) == models
    assert model_registry.get_version(store, "once", 1).tags["eyas.note"] == "again"
    other_keys = register(store, "once", make_export(1), make_lineage({**KEYS, "export": "3" * 64}))
    other_files = register(store, "once", make_export(2), make_lineage(KEYS))
    assert [other_keys.number, other_files.number] == ["2", "3"]
    assert model_registry.get_alias(store, "once", "candidate") == model_registry.get_version(store, "once", 3)


def test_changed_file_is_not_registered(store: MlflowStore, make_export, make_lineage) -> None:
    export = make_export(1)
    (export / "plan.json").write_text("{}")
    with pytest.raises(ChecksumError, match=r"plan\.json"):
        register(store, "tampered", export, make_lineage(KEYS))
    assert model_registry.list_versions(store, "tampered") == []


@pytest.mark.parametrize("file", ["model.onnx", "manifest.json"])
def test_download_refuses_what_was_changed_in_the_store(
    store: MlflowStore, make_export, make_lineage, tmp_path: Path, file: str
) -> None:
    if not store.uri.startswith("sqlite:"):
        pytest.skip("the files lie on a server")
    name = f"changed-{Path(file).stem}"
    version = register(store, name, make_export(1), make_lineage(KEYS))
    folder = Path(version.source.removeprefix("file://")) / model_registry.FILES
    if file == "model.onnx":
        (folder / file).write_bytes((folder / file).read_bytes()[:-1] + b"?")
    else:  # a manifest that fits a file that was swapped
        (folder / "plan.json").write_text("{}")
        manifest = json.loads((folder / file).read_text())
        manifest["files"]["plan.json"]["sha256"] = file_sha256(folder / "plan.json")
        (folder / file).write_text(json.dumps(manifest))
    with pytest.raises(ChecksumError):
        model_registry.download(store, version, tmp_path / "down")


def test_unknown_version_lists_what_there_is(store: MlflowStore, make_export, make_lineage) -> None:
    register(store, "few", make_export(1), make_lineage(KEYS))
    with pytest.raises(BadInputError, match="no version 7; registered versions: 1"):
        model_registry.get_version(store, "few", 7)
    assert model_registry.get_alias(store, "few", "champion") is None
    assert model_registry.get_alias(store, "never-registered", "champion") is None
