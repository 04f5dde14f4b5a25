"""A tiny segmentation, as a user runs it: images and masks in a folder, to the registry and through the gates."""

import json

import pytest
import yaml

from eyas.data.shapes import write_shapes
from tests.integration.conftest import Checkout

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
PARAMS = {
    "fetch": {"train": "shapes", "task": "segmentation", "image_size": 16, "mean": [0.5] * 3, "std": [0.25] * 3},
    "baseline": {"architecture": "unet", "arguments": {"width": 4, "depth": 1}, "epochs": 6,
                 "recipe": {"kind": "sgd", "batch_size": 16, "learning_rate": 0.2}},
    "sample": {"budget": {"macs": 0.5}, "tolerance": 0.05, "candidates": 8},
    "score": {"batch_size": 32},
    "finetune": {"epochs": 3, "compare_uniform": True,
                 "recipe": {"kind": "sgd", "batch_size": 16, "learning_rate": 0.1}},
    "export": {"latency_runs": 10},
    "promote": {"max_drop": 0.5},
    "register": {"model": "tiny-shapes"},
    "runtime": {"threads": 1},
}  # fmt: skip


def test_a_segmentation_from_a_folder_to_the_champion(checkout: Checkout) -> None:
    write_shapes(checkout.folder / "shapes", images=120, size=20)
    (checkout.folder / "tiny_shapes.yaml").write_text(yaml.safe_dump(PARAMS))
    options = ["--params", "tiny_shapes.yaml"]
    printed = checkout.run("flows", "run", *options, timeout=600)
    artifacts = checkout.folder / "workspaces" / "tiny_shapes" / "artifacts"
    numbers = {
        stage: json.loads((artifacts / stage / "metrics.json").read_text())
        for stage in ("fetch", "baseline", "finetune", "export")
    }
    dense, small, exported = numbers["baseline"], numbers["finetune"], numbers["export"]
    assert sum(numbers["fetch"][split] for split in ("train", "calibration", "score", "test")) == 120
    assert 0 < small["test_mean_iou"] < small["test_accuracy"] < 1
    difference = small["test_mean_iou"] - dense["test_mean_iou"]
    assert small["test_difference"] == pytest.approx(difference, abs=1e-6)
    assert small["test_difference_error"] > 0
    assert {"uniform_test_difference", "uniform_test_mean_iou"} <= small.keys()
    assert exported["agreement"] == 1.0
    assert exported["model_mean_iou"] == pytest.approx(small["test_mean_iou"], abs=1e-3)
    assert "test mean IoU" in printed
    page = (artifacts / "report" / "report.md").read_text()
    said = ("in mean IoU on", "test pixel accuracy", "one for each pixel (segmentation)", "has a mean IoU that is")
    assert [words for words in said if words not in page] == []
    limit = ["--set", "promote.min_accuracy=0.999"]
    assert "test mean IoU" in checkout.run("flows", "promote", *options, *limit, status=3)
    assert "tiny-shapes version 1 promoted" in checkout.run("flows", "promote", *options)
