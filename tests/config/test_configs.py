"""Every file in configs/ parses, and says what its comments promise."""

from pathlib import Path

import pytest
import torch
import yaml

from eyas.config import load_params
from eyas.networks.architectures import build_model

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
FILES = sorted(CONFIGS.glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_parses_and_its_network_can_be_built(path):
    params = load_params(path)
    with torch.device("meta"):
        model = build_model(params.baseline.architecture, params.baseline.arguments, 10)
        size = params.fetch.image_size
        logits = model.eval()(torch.zeros(1, len(params.fetch.mean), size, size))
    assert logits.shape == (1, 10, *params.fetch.task.answer_shape((len(params.fetch.mean), size, size)))
    assert params.register_.model.startswith("eyas-")


def test_the_promised_files_exist():
    names = {path.stem for path in FILES}
    assert {"cifar10_resnet20", "cifar10_resnet56", "imagenet_resnet50", "imagenet_mobilenetv1"} <= names


@pytest.mark.parametrize(("name", "batch"), [("imagenet_resnet50", 128), ("imagenet_mobilenetv1", 512)])
def test_published_settings(name, batch):
    params = load_params(CONFIGS / f"{name}.yaml")
    recipe = params.finetune.recipe
    assert (params.sample.candidates, params.sample.tolerance, params.sample.budget.macs) == (1000, 0.005, 0.5)
    assert (recipe.learning_rate, recipe.weight_decay, recipe.batch_size) == (0.01, 1e-4, batch)
    assert params.finetune.epochs == 120
    assert params.score.calibration_images == 102 * 128


def test_without_training_labels_have_nothing_to_decide():
    params = load_params(CONFIGS / "digits_training_free.yaml")
    assert params.finetune.epochs == 0
    assert params.finetune.recovery is not None
    assert not params.score.scorer.needs_labels
    default = load_params(CONFIGS.parent / "params.yaml")
    assert params.baseline == default.baseline, "the same dense network, so that accuracies compare"
    assert params.sample.budget == default.sample.budget


@pytest.mark.parametrize("name", ["cifar10_resnet20", "cifar10_resnet56"])
def test_digests_are_those_of_the_data(name, real_data):
    import hashlib

    content = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    checkpoint = content["baseline"]["checkpoint"].replace("$EYAS_DATA", str(real_data))
    digest = hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest()
    assert digest.startswith(str(content["baseline"]["checkpoint_sha256"]))
    for file, expected in content["fetch"]["sha256"].items():
        with (real_data / "cifar10_jpeg" / file).open("rb") as stream:
            assert hashlib.file_digest(stream, "sha256").hexdigest().startswith(expected)
