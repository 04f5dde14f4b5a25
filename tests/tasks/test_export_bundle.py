"""The bundle of the digits network: grey images, two formats, everything that ``export`` knows."""

import json
import logging
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from eyas.adaptation.drift.observation import observe
from eyas.adaptation.rule_limits import RevertRule
from eyas.config import PipelineParams
from eyas.data import open_dataset
from eyas.deploy.bundle.classifier import Classifier
from eyas.deploy.bundle.verification import verify_bundle
from eyas.deploy.exporters.onnx import Onnx
from eyas.deploy.named_outputs import NamedOutputs
from eyas.errors import DataError
from eyas.networks.saved_network import load_network
from eyas.progress import silent
from tasks.export import export
from tasks.export_bundle import device_adaptation, why_none


def exported(
    artifacts: Path, folder: Path, params: PipelineParams, **settings: object
) -> tuple[Path, dict[str, float]]:
    place = folder / "artifacts"
    shutil.copytree(artifacts, place, ignore=shutil.ignore_patterns("export"))
    (place / "export").mkdir()
    params = params.model_copy(update={"export": params.export.model_copy(update=settings)})
    return place / "export", dict(export(params, place, silent))


@pytest.fixture(scope="module")
def whole(
    pruned_digits: Path, digits_params: PipelineParams, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, float]]:
    return exported(pruned_digits, tmp_path_factory.mktemp("whole"), digits_params, licence="CC-BY-4.0")


def test_the_bundle_is_as_accurate_as_the_exported_file(whole: tuple[Path, dict[str, float]]) -> None:
    folder, metrics = whole
    classifier = Classifier(folder / "bundle", threads=1)
    test = open_dataset(folder.parent / "fetch").split("test")
    pixels = test.images(200).permute(0, 2, 3, 1).numpy()
    (probabilities,) = classifier.session.run(None, {"images": pixels})
    right = float((probabilities.argmax(1) == test.labels[:200].numpy()).mean())
    assert right == metrics["model_accuracy"]
    assert metrics["bundle_bytes"] == (folder / "bundle.tar.gz").stat().st_size
    assert 0.95 <= metrics["bundle_agreement"] <= 1
    assert 0 < metrics["bundle_difference"] < 0.05
    assert verify_bundle(folder / "bundle.tar.gz").pairs == 8


def test_the_card_tells_of_this_network(whole: tuple[Path, dict[str, float]]) -> None:
    folder, metrics = whole
    card = (folder / "bundle/README.md").read_text()
    assert card.startswith("# resnet8, pruned to ")
    for told in (
        f"| `model.onnx` | {metrics['model_accuracy']:.2%} +- ",
        f"| `model.int8.onnx` | {metrics['model_int8_accuracy']:.2%} +- ",
        *("On 200 test images", "CC-BY-4.0", "builtin:digits", "8 x 8 grey"),
    ):
        assert told in card, told
    rows = [line.split("|")[1:4] for line in card.split("By class")[1].split("## Data")[0].splitlines() if "%" in line]
    assert sum(int(count) for *_, count in rows) == 200
    right = sum(round(float(share.strip(" %")) / 100 * int(count)) for _, share, count in rows)
    assert right == round(200 * metrics["model_accuracy"])


def test_no_file_tells_of_the_machine_that_made_it(whole: tuple[Path, dict[str, float]]) -> None:
    folder, _ = whole
    places = [str(folder.parents[1]), str(Path(__file__).parents[2]), "site-packages", "/root/", "/home/", "/tmp/"]
    files = [path for path in (folder / "bundle").rglob("*") if path.is_file()]
    assert (folder / "bundle/formats/model.int8.onnx") in files
    for path in files:
        content = path.read_bytes()
        assert [place for place in places if place.encode() in content] == [], path


def test_what_is_left_to_pillow_answers_alike(
    whole: tuple[Path, dict[str, float]], pruned_digits: Path, digits_params: PipelineParams, tmp_path: Path
) -> None:
    folder, metrics = exported(pruned_digits, tmp_path, digits_params, preprocessing_in_graph=False, exporters=())
    assert not (folder / "bundle/end_to_end.onnx").exists()
    assert metrics["bundle_difference"] < 1e-4
    in_graph, as_data = (Classifier(place / "bundle", threads=1) for place in (whole[0], folder))
    for name in in_graph.golden["probabilities"]:
        image = in_graph.read(whole[0] / "bundle/golden" / name)
        assert np.abs(in_graph(image) - as_data(image)).max() < 0.05


def test_without_a_bundle_folder_and_tar_are_empty(
    pruned_digits: Path, digits_params: PipelineParams, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    folder, metrics = exported(pruned_digits, tmp_path, digits_params, bundle=False, exporters=())
    assert list((folder / "bundle").iterdir()) == []
    assert not any(name.startswith("bundle") for name in metrics)
    assert "no bundle: export.bundle is false" in caplog.text
    with pytest.raises(DataError, match="is no bundle"):
        verify_bundle(folder / "bundle.tar.gz")
    assert not any(name.startswith("bundle") for name in json.loads((folder / "manifest.json").read_text())["files"])


def test_an_adaptable_bundle_carries_the_profiles_rule_and_the_classes_of_the_score_split(
    pruned_digits: Path, digits_params: PipelineParams, tmp_path: Path
) -> None:
    rule = RevertRule(max_class_distance=0.3, max_canary_loss=0.2)
    adapt = digits_params.adapt.model_copy(update={"rule": rule, "source_images": 120})
    params = digits_params.model_copy(update={"adapt": adapt})
    folder, _ = exported(pruned_digits, tmp_path, params, adaptable=True, exporters=())
    told = json.loads((folder / "bundle/adapt_rule.json").read_text())
    assert told["limits"] == rule.model_dump(exclude={"alpha", "excusing_rise_gap"})
    dataset, network = open_dataset(folder.parent / "fetch"), load_network(folder, allowed=("models:build",)).model
    with torch.inference_mode():
        answers = network.eval()(dataset.normalise(dataset.split("score").images(120))).argmax(1)
    assert told["clean_classes"] == torch.bincount(answers, minlength=10).tolist()
    assert "bundle/adapt_rule.json" in json.loads((folder / "manifest.json").read_text())["files"]
    assert "`adapt_rule.json`" in (folder / "bundle/README.md").read_text()
    assert verify_bundle(folder / "bundle.tar.gz").pairs == 8
    unlabelled = SimpleNamespace(task_of=lambda _: SimpleNamespace(labelled=False))
    assert device_adaptation(params, folder, unlabelled).clean_classes is None  # there is no canary, as in `eyas adapt`


def test_where_each_pixel_has_a_class_that_of_the_mean_probability_counts(
    digits_params: PipelineParams, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network, images = nn.Conv2d(1, 3, 3).eval(), torch.randn(40, 1, 5, 5)
    Onnx()(network, images[:2], tmp_path / "model.onnx")
    split = SimpleNamespace(images=lambda count: images[:count])
    task = SimpleNamespace(labelled=True)
    dataset = SimpleNamespace(task_of=lambda _: task, split=lambda _: split, normalise=lambda pixels: pixels)
    told = device_adaptation(digits_params, tmp_path, dataset).clean_classes
    predicted = observe(network, images, {}).predicted  # as the revert rule answers its canary
    assert told == torch.bincount(predicted, minlength=3).tolist()
    assert len(set(predicted.tolist())) > 1


class PerPixel(nn.Module):
    """Answers with a class per pixel, or in the mean."""

    def __init__(self, several: bool) -> None:
        super().__init__()
        self.layer, self.several = nn.Conv2d(1, 10, 1), several

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        pixels = self.layer(images)
        return (pixels, pixels.mean((2, 3))) if self.several else pixels


def test_a_network_that_gives_no_probability_per_class_has_no_bundle() -> None:
    images = torch.zeros(5, 1, 8, 8)
    reason = why_none(PerPixel(several=False), images, (10,))
    assert (
        reason
        == "the network answers with (2, 10, 8, 8) to two images, a bundle with one probability for each of 10 classes"
    )
    judged = NamedOutputs(PerPixel(several=True), images[:2], 1)
    assert why_none(judged, images, (10,)) == ""
    assert "for each of 7 classes" in why_none(judged, images, (7,))
    assert why_none(PerPixel(several=False), images, (10, 8, 8)) == ""
    assert "for each of 9 classes and pixel" in why_none(PerPixel(several=False), images, (9, 8, 8))
