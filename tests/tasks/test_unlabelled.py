"""Images without labels, through all stages and to the champion; and what no stage says of them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from sklearn.datasets import load_digits

import models
from eyas.config import PipelineParams, parse_params
from eyas.data import open_dataset
from eyas.data.tasks import IGNORED
from eyas.deploy.bundle.verification import verify_bundle
from eyas.errors import ParameterError, RefusedError
from eyas.operations.report import markdown_table, read_results, result_rows, verdict_on, write_report
from eyas.operations.report.headline import headline_metrics
from eyas.progress import silent
from eyas.storage.digests import file_sha256
from tasks.baseline import baseline
from tasks.dense_answers import with_dense_answers
from tasks.dense_network import load_dense
from tasks.export import export
from tasks.fetch import fetch
from tasks.finetune import finetune
from tasks.key_numbers import key_numbers
from tasks.measure_latency import write_latency
from tasks.promote import promote
from tasks.sample import sample
from tasks.score import score
from tasks.stage import write_json
from tasks.workspace import Workspace
from tests.tasks.conftest import ARGUMENTS, trained
from tests.tasks.registering import aliases, enter, write_lock

STAGES: dict[str, Callable[..., Any]] = {
    "fetch": fetch, "baseline": baseline, "sample": sample, "score": score, "finetune": finetune, "export": export
}  # fmt: skip
FLAT, LABELLED = 500, 200


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``flat/`` without labels, ``test/`` with, and ``dense.pt``, trained on the rest of the digits."""
    folder, digits = tmp_path_factory.mktemp("source"), load_digits()
    pixels = (digits.images * 255 / 16).astype(np.uint8)
    for number, label in enumerate(digits.target[: FLAT + LABELLED]):
        path = folder / ("flat" if number < FLAT else f"test/{label}") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[number]).save(path)
    images = torch.from_numpy((pixels[FLAT + LABELLED :] / 255 - 0.3) / 0.4).float()[:, None]
    torch.manual_seed(0)
    dense = trained(models.build(**ARGUMENTS), images, torch.from_numpy(digits.target[FLAT + LABELLED :]))
    torch.save(dense.state_dict(), folder / "dense.pt")
    return folder


def params_of(source: Path, state: Path, **fetched: object) -> PipelineParams:
    data = {"train": str(source / "flat"), "task": "unlabelled", "image_size": 8, "mean": [0.3], "std": [0.4]}
    dense = {"architecture": "resnet8", "arguments": {"width": 8, "in_channels": 1}}
    return parse_params(
        {
            "fetch": {**data, **fetched},
            "baseline": {**dense, "checkpoint": str(source / "dense.pt")},
            "sample": {"tolerance": 0.05, "candidates": 4},
            "finetune": {"epochs": 2, "recipe": {"kind": "sgd", "batch_size": 32}},
            "export": {"parity_images": 60, "latency_runs": 10},
            "register": {"model": "unlabelled"},
            "runtime": {"state": str(state), "tracking_uri": f"sqlite:///{state}/mlflow.db"},
        }
    )


def run(params: PipelineParams, artifacts: Path, *stages: str) -> None:
    for name in stages:
        (artifacts / name).mkdir(parents=True, exist_ok=True)
        write_json(artifacts / name / "metrics.json", dict(STAGES[name](params, artifacts, silent)))


def metrics_of(artifacts: Path) -> dict[str, float]:
    return {
        f"{path.parent.name}.{name}": value
        for path in artifacts.glob("*/metrics.json")
        for name, value in json.loads(path.read_text()).items()
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Path:
    """A checkout whose stages ran without a label."""
    root = tmp_path_factory.mktemp("checkout")
    params, artifacts = params_of(source, root / "state"), root / "artifacts"
    run(params, artifacts, *STAGES)
    write_latency(params.export, artifacts)
    stages = {"fetch": {"deps": [], "outs": []}, "export": {"deps": [], "outs": []}}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    write_lock(root, "first")
    return root


def workspace(root: Path, source: Path, **gates: object) -> Workspace:
    params = params_of(source, root / "state")
    limits = params.promote.model_copy(update=gates)
    return Workspace(root, root, "default", params.model_copy(update={"promote": limits}))


def test_the_number_of_classes_is_that_of_the_checkpoint(root: Path) -> None:
    record = json.loads((root / "artifacts/baseline/architecture.json").read_text())
    assert record["arguments"]["num_classes"] == 10
    assert json.loads((root / "artifacts/export/manifest.json").read_text())["classes"] == list("0123456789")


def test_no_number_is_called_accuracy(root: Path) -> None:
    metrics = metrics_of(root / "artifacts")
    assert not [name for name in metrics if "accuracy" in name]
    assert "score_accuracy" not in (root / "artifacts/finetune/history.csv").read_text()
    assert 0.3 < metrics["finetune.test_agreement"] <= 1
    assert metrics["finetune.test_lost"] == round((1 - metrics["finetune.test_agreement"]) * metrics["fetch.test"])
    assert metrics["export.model_dense_agreement"] == pytest.approx(1 - metrics["export.churn"])
    numbers = " ".join(key_numbers(stage, root / "artifacts") for stage in STAGES)
    assert "no labels" in numbers
    assert "test agreement" in numbers
    assert "accuracy" not in numbers


def test_agreement_is_that_of_the_two_networks(root: Path, source: Path) -> None:
    artifacts = root / "artifacts"
    params = params_of(source, root / "state")
    dense = load_dense(params, artifacts)
    fetched = open_dataset(artifacts / "fetch")
    data = with_dense_answers(fetched, dense)
    images = data.normalise(data.split("test").images())
    with torch.inference_mode():
        expected = dense.model.eval()(images).argmax(1)
    assert data.split("test").labels.equal(expected)
    assert set(data.split("train").labels.tolist()) == {IGNORED}


def test_table_verdict_and_page_speak_of_agreement_and_of_what_is_not_known(root: Path) -> None:
    results = read_results(root / "artifacts")
    table, verdict = markdown_table(result_rows(results)), verdict_on(results)
    assert "| test agreement |" in table
    assert "accuracy" not in table.lower()
    assert "as the dense network does; 95 % interval" in verdict.headline
    assert "not known without labels" in verdict.headline
    assert "accuracy" not in verdict.headline.lower()
    headline = headline_metrics(results)
    assert not [name for name in headline if "accuracy" in name]
    assert headline["test_agreement_low"] < headline["test_agreement"] <= headline["test_agreement_high"]
    page = write_report(root / "artifacts", params={}).read_text()
    shown = (root / "artifacts/report/report.html").read_text()
    assert "What is not known without labels" in shown
    assert "Agreement against cost" in shown
    assert "## What is not known without labels" in page
    assert "## Agreement along the way" in page
    assert "| agreement with the dense network |" in page
    card = (root / "artifacts/export/bundle/README.md").read_text()
    assert "How often it is right is not known" in card
    assert "## Accuracy" not in card


def test_the_bundle_verifies_and_calls_classes_by_numbers(root: Path) -> None:
    bundle = root / "artifacts/export/bundle"
    verify_bundle(bundle)
    assert json.loads((bundle / "labels.json").read_text()) == list("0123456789")


def test_gates_hold_agreement_against_its_limit(root: Path, source: Path) -> None:
    reached = metrics_of(root / "artifacts")["finetune.test_agreement"]
    enter(workspace(root, source))
    with pytest.raises(RefusedError, match=r"dense network [\d.]+ %: needs at least 100 % \(promote\.min_agreement\)"):
        promote(workspace(root, source, min_agreement=1.0))
    with pytest.raises(RefusedError, match="accuracy is not known without labels"):
        promote(workspace(root, source, min_agreement=None, min_accuracy=0.1))
    decision = promote(workspace(root, source, min_agreement=reached - 0.01))
    assert {gate.name for gate in decision.gates} >= {"agreement", "candidate_as_recorded"}
    assert not {"accuracy", "drop"} & {gate.name for gate in decision.gates}
    assert decision.numbers["agreement"] == pytest.approx(reached, abs=0.02)
    assert aliases(workspace(root, source))["champion"] == "1"


def test_a_champion_from_another_dense_network_is_not_compared(root: Path, source: Path, tmp_path: Path) -> None:
    gates = {"min_agreement": None, "preset": "not_worse_and_smaller"}
    if "champion" not in aliases(workspace(root, source)):
        enter(workspace(root, source))
        promote(workspace(root, source, min_agreement=None))
    kept = tmp_path / "export"
    shutil.copytree(root / "artifacts/export", kept)
    folder = root / "artifacts/export"
    try:
        shutil.copyfile(folder / "model.onnx", folder / "dense.onnx")
        manifest = json.loads((folder / "manifest.json").read_text())
        facts = {"sha256": file_sha256(folder / "dense.onnx"), "bytes": (folder / "dense.onnx").stat().st_size}
        manifest["files"]["dense.onnx"] = facts
        write_json(folder / "manifest.json", manifest)
        write_lock(root, "other")
        enter(workspace(root, source))
        with pytest.raises(RefusedError, match="pruned from another dense network, and no test image has a label"):
            promote(workspace(root, source, **gates))
    finally:
        shutil.rmtree(folder)
        kept.rename(folder)


def test_a_labelled_test_set_measures_accuracy_and_nothing_else_does(root: Path, source: Path, tmp_path: Path) -> None:
    task = {"kind": "unlabelled", "labelled_test": True}
    params = params_of(source, tmp_path / "state", test=str(source / "test"), task=task)
    artifacts = tmp_path / "artifacts"
    run(params, artifacts, "fetch", "baseline", "sample", "score", "finetune")
    metrics = metrics_of(artifacts)
    named = {name for name in metrics if "accuracy" in name or "agreement" in name}
    assert named == {
        "baseline.test_accuracy",
        "finetune.test_accuracy",
        "finetune.recalibrated_test_accuracy",
        "finetune.score_agreement",
        "finetune.recalibrated_score_agreement",
    }
    dense = load_dense(params, artifacts)
    data = open_dataset(artifacts / "fetch")
    with torch.inference_mode():
        answers = dense.model.eval()(data.normalise(data.split("test").images())).argmax(1)
    right = float((answers == data.split("test").labels).double().mean())
    assert metrics["baseline.test_accuracy"] == pytest.approx(right)
    assert metrics["fetch.test"] == LABELLED


def test_class_names_that_do_not_fit_the_checkpoint_are_refused(source: Path, tmp_path: Path) -> None:
    params = params_of(source, tmp_path / "state", task={"kind": "unlabelled", "class_names": ["even", "odd"]})
    run(params, tmp_path / "artifacts", "fetch")
    with pytest.raises(Exception, match="The checkpoint has 10 classes, the images 2: even, odd"):
        baseline(params, tmp_path / "artifacts", silent)


def test_without_a_checkpoint_nothing_runs(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="baseline.checkpoint: .* give a trained one"):
        parse_params({"fetch": {"train": str(source / "flat"), "task": "unlabelled"}})
