import hashlib
import json
import re
import shutil
from pathlib import Path

import onnxruntime
import pytest
import torch
from safetensors.torch import load_file

import eyas
from eyas.config import PipelineParams
from eyas.data import open_dataset
from eyas.deploy.named_outputs import outputs_of
from eyas.errors import ParityError
from eyas.networks.saved_network import load_network
from eyas.progress import silent
from tasks.export import FIELDS, export
from tasks.stage import name_fields, write_json


@pytest.fixture(scope="module")
def exported(pruned_digits: Path, digits_params: PipelineParams) -> tuple[Path, dict[str, float]]:
    (pruned_digits / "export").mkdir(exist_ok=True)
    metrics = dict(export(digits_params, pruned_digits, silent))
    write_json(pruned_digits / "export/metrics.json", metrics)
    return pruned_digits / "export", metrics


def test_files_compute_what_pytorch_computes(exported: tuple[Path, dict[str, float]], pruned_digits: Path) -> None:
    folder, metrics = exported
    data = open_dataset(pruned_digits / "fetch")
    images, labels = data.normalise(data.split("test").images(200)), data.split("test").labels[:200]
    networks = {
        "model.onnx": eyas.load(pruned_digits / "finetune"),
        "dense.onnx": load_network(pruned_digits / "baseline").model,
    }
    answers = {}
    for name, network in networks.items():
        session = onnxruntime.InferenceSession(str(folder / name), providers=["CPUExecutionProvider"])
        exported_logits = torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
        with torch.inference_mode():
            torch.testing.assert_close(exported_logits, network(images), rtol=1e-4, atol=1e-4)
        answers[name] = exported_logits.argmax(1)
    comparisons = json.loads((folder / "parity.json").read_text())["files"]
    for name in networks:
        right = sum(int(a == b) for a, b in zip(answers[name].tolist(), labels.tolist(), strict=True))
        assert comparisons[name]["accuracy"] == right / 200
    assert metrics["model_accuracy"] == comparisons["model.onnx"]["accuracy"]
    assert abs(metrics["model_int8_accuracy"] - metrics["model_accuracy"]) < 0.1
    assert 0 < metrics["max_difference"] < 1e-4
    assert metrics["model_bytes"] == (folder / "model.onnx").stat().st_size < 0.6 * metrics["dense_bytes"]


def test_churn_is_the_share_of_changed_answers(exported: tuple[Path, dict[str, float]], pruned_digits: Path) -> None:
    data = open_dataset(pruned_digits / "fetch")
    images = data.normalise(data.split("test").images(200))
    dense, pruned = load_network(pruned_digits / "baseline").model, eyas.load(pruned_digits / "finetune")
    with torch.inference_mode():
        changed = [int(a.argmax()) != int(b.argmax()) for a, b in zip(dense(images), pruned(images), strict=True)]
    assert exported[1]["churn"] == pytest.approx(sum(changed) / len(changed))


def test_manifest_lists_every_file(exported: tuple[Path, dict[str, float]]) -> None:
    folder, _ = exported
    listed = json.loads((folder / "manifest.json").read_text())["files"]
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    packed = {"bundle.tar.gz"}  # of the files below bundle/, which are listed
    assert present - set(listed) - packed == {"manifest.json", "metrics.json"}
    for name, facts in listed.items():
        content = (folder / name).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (facts["sha256"], facts["bytes"])
    assert "formats/model.int8.onnx" in listed


def test_exported_weights_load_again(exported: tuple[Path, dict[str, float]], pruned_digits: Path) -> None:
    folder, _ = exported
    images = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = outputs_of(eyas.load(pruned_digits / "finetune"), images)["logits"]
    torch.testing.assert_close(outputs_of(eyas.load(folder), images)["logits"], expected, rtol=0, atol=0)


def test_bundle_holds_every_batch_norm(exported: tuple[Path, dict[str, float]], pruned_digits: Path) -> None:
    folder, _ = exported
    bundle, network = load_file(folder / "bn_statistics.safetensors"), eyas.load(pruned_digits / "finetune")
    norms = {name: layer for name, layer in network.named_modules() if isinstance(layer, torch.nn.BatchNorm2d)}
    parts = ("mean", "var", "weight", "bias", "eps")
    assert set(bundle) == {"images", *(f"{name}.{part}" for name in norms for part in parts)}
    name, layer = next(iter(norms.items()))
    assert torch.equal(bundle[f"{name}.var"], layer.running_var)
    assert int(bundle["images"]) == len(open_dataset(pruned_digits / "fetch").split("train"))


def test_second_run_gives_the_same_bytes(
    exported: tuple[Path, dict[str, float]], pruned_digits: Path, digits_params: PipelineParams, tmp_path: Path
) -> None:
    first = {path.name: path.read_bytes() for path in exported[0].rglob("*") if path.is_file()}
    again = tmp_path / "artifacts"
    shutil.copytree(pruned_digits, again, ignore=shutil.ignore_patterns("export"))
    (again / "export/formats").mkdir(parents=True)
    (again / "export/formats/stale.onnx").write_bytes(b"left by a run before")
    write_json(again / "export/metrics.json", dict(export(digits_params, again, silent)))
    second = {path.name: path.read_bytes() for path in (again / "export").rglob("*") if path.is_file()}
    assert second == first


def test_limit_that_no_file_meets_stops_the_stage(
    pruned_digits: Path, digits_params: PipelineParams, tmp_path: Path
) -> None:
    artifacts = tmp_path / "artifacts"
    shutil.copytree(pruned_digits, artifacts, ignore=shutil.ignore_patterns("export"))
    (artifacts / "export").mkdir()
    strict = digits_params.export.model_copy(update={"max_difference": 1e-12})
    with pytest.raises(ParityError, match=r"dense\.onnx .* allowed: .* at most 1e-12") as caught:
        export(digits_params.model_copy(update={"export": strict}), artifacts, silent)
    message = name_fields(str(caught.value), FIELDS)
    assert "(export.min_agreement)" in message
    assert "(export.max_difference)" in message
    image = r"\. The worst is test image \d+ \(.+, sha256 [0-9a-f]{12}\)"
    assert re.search(image + r"; no layer is off by more than 0\.001, the most is .* at \w", message)
