"""A folder of images without labels and a checkpoint, as a user runs them: to the registry and through the gates."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

import models
from tests.integration.conftest import TINY, Checkout
from tests.tasks.conftest import ARGUMENTS, trained

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
FLAT = 900
PARAMS = TINY.replace('"builtin:digits"', "photos, task: unlabelled").replace(
    "epochs: 8\n  recipe: {kind: sgd, batch_size: 32, learning_rate: 0.1}", "checkpoint: dense.pt"
)


def test_a_folder_and_a_checkpoint_come_to_a_champion(checkout: Checkout) -> None:
    folder, digits = checkout.folder, load_digits()
    (folder / "photos").mkdir()
    for number, pixels in enumerate((digits.images[:FLAT] * 255 / 16).astype(np.uint8)):
        Image.fromarray(pixels).save(folder / "photos" / f"{number}.png")
    images = torch.from_numpy((digits.images[FLAT:] / 16 - 0.3053) / 0.3764).float()[:, None]
    torch.manual_seed(0)
    dense = trained(models.build(**ARGUMENTS), images, torch.from_numpy(digits.target[FLAT:]))
    torch.save(dense.state_dict(), folder / "dense.pt")
    (folder / "unlabelled.yaml").write_text(PARAMS)
    options = ["--params", "unlabelled.yaml", "--name", "unlabelled"]

    refused = checkout.run("flows", "run", *options, "--check", "--set", "score.scorer=top1", status=2)
    assert "score.scorer: fetch.task is unlabelled, and top1 reads labels" in refused
    assert "can run" in checkout.run("flows", "run", *options, "--check")

    printed = checkout.run("flows", "run", *options, timeout=800)
    assert "test agreement" in printed
    assert "as the dense network does" in printed
    assert "accuracy" not in printed.lower()
    artifacts = folder / "workspaces" / "unlabelled" / "artifacts"
    metrics = json.loads((artifacts / "finetune" / "metrics.json").read_text())
    assert metrics["test_agreement"] > metrics["recalibrated_score_agreement"] - 0.1
    assert "## What is not known without labels" in (artifacts / "report" / "report.md").read_text()
    assert "is as it was made" in checkout.run("eyas.cli", "verify", str(artifacts / "export" / "bundle"))
    assert "version 1 promoted" in checkout.run("flows", "promote", *options, "--set", "promote.min_agreement=0.5")
