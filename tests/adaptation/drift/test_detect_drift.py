"""What drifted is told in words, clean windows are quiet, and what cannot be used is refused."""

import copy
import json
import re

import pytest
import torch
from torch import Tensor, nn

from eyas.adaptation.drift import DriftReference, detect_drift
from eyas.adaptation.drift.drift_words import largest_effect, name_changes
from eyas.adaptation.drift.image_statistics import IMAGE_STATISTICS
from eyas.errors import DataError, ParameterError


def noisy(images: Tensor) -> Tensor:
    return images + 0.5 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))


def test_clean_windows_are_quiet(spots: nn.Module, reference: DriftReference, draw) -> None:
    for seed in range(10, 30):
        report = detect_drift(spots, draw(96, seed)[0], reference)
        assert not report.drift, report.sentence
        assert (report.changes, report.adapt) == ((), False)
        assert re.fullmatch(
            r"no drift in 96 images: in none of 11 tests do they differ from clean ones "
            r"\(the nearest has p = \S+, and p up to 0.001 counts as drift\)",
            report.sentence,
        )


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (noisy, "more noise"),
        (lambda images: images + 1.5, "brighter images"),
        (lambda images: images.mean((2, 3), keepdim=True) * 2 / 3 + images / 3, "less contrast"),
        (lambda images: images + torch.tensor([1.0, 0.0, -1.0]).view(3, 1, 1), "warmer colours"),
    ],
)
def test_a_change_is_called_by_its_name(spots: nn.Module, reference: DriftReference, draw, change, word: str) -> None:
    report = detect_drift(spots, change(draw(128, 40)[0]), reference)
    assert report.changes[0] == word
    assert f"drift in 128 images: {word}" in report.sentence
    assert any(layer.symmetric_kl > 2 * layer.clean_kl for layer in report.layers)
    assert report.adapt, report.advice


def test_blur_is_called_blur(spots: nn.Module, reference: DriftReference, draw, blur) -> None:
    assert detect_drift(spots, blur(draw(128, 41)[0]), reference).changes[0] == "blur"


def test_other_classes_alone_are_told_and_advise_against(spots: nn.Module, reference: DriftReference, draw) -> None:
    images, labels = draw(128, 42, classes=(0, 0, 0, 0, 0, 1, 2, 3))
    report = detect_drift(spots, images, reference)
    assert report.changes == ("another balance of classes",)
    assert not report.adapt
    assert "other classes are more frequent" in report.advice
    true = (labels.bincount(minlength=4) / 128).tolist()
    assert report.balance.estimated == pytest.approx(true, abs=0.12)


def test_the_network_is_as_before_and_answers_twice_alike(spots: nn.Module, reference: DriftReference, draw) -> None:
    network, images = copy.deepcopy(spots).train(), noisy(draw(64, 43)[0])
    first = detect_drift(network, images, reference)
    assert network.training
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), spots.state_dict().values(), strict=True)
    )
    assert detect_drift(network, images, reference) == first


def test_a_report_reads_as_json_as_text_and_as_a_picture(
    spots: nn.Module, reference: DriftReference, draw, tmp_path
) -> None:
    report = detect_drift(spots, noisy(draw(128, 44)[0]), reference)
    told = json.loads(report.to_json())
    assert told["drift"] is True
    assert [layer["name"] for layer in told["layers"]] == ["features.1", "features.4"]
    assert report.lines()[0] == report.sentence
    assert any(line.startswith("noise") and line.endswith("changed") for line in report.lines())
    picture = report.draw(tmp_path / "drift.png")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_large_number_without_a_word_says_what_it_follows_from(
    spots: nn.Module, reference: DriftReference, draw
) -> None:
    report = detect_drift(spots, noisy(draw(128, 44)[0]), reference)
    assert "sharper edges" not in report.changes
    assert {one.name: one.follows for one in report.numbers}["sharpness"] == "noise"
    (row,) = (line for line in report.lines() if line.startswith("sharpness"))
    assert row.endswith("  changed, as follows from noise")


def test_the_headline_names_the_largest_effect_or_says_why_not() -> None:
    effects = {"blockiness": 1.1, "sharpness": 2.69, "noise": 1.0}
    changes, follows = ("stronger compression (8 x 8 blocks)",), {"sharpness": "blockiness", "noise": "blockiness"}
    told = largest_effect(effects, changes, follows)
    assert told == (
        "the largest effect, sharper edges (2.7 standard deviations), follows from stronger compression (8 x 8 blocks)"
    )
    assert largest_effect(effects, ("sharper edges",), {}) == ""
    assert "only against clean images of the classes" in largest_effect(effects, ("more noise",), {})
    coarse = {"sharpness": -1.0, "blockiness": -2.5}
    assert largest_effect(coarse, name_changes(coarse), {}).endswith("follows from coarser pixels")
    assert largest_effect({}, (), {}) == ""


def test_every_number_of_the_text_has_its_unit_or_meaning(spots: nn.Module, reference: DriftReference, draw) -> None:
    report = detect_drift(spots, noisy(draw(128, 44)[0]), reference)
    lines = report.lines()
    legend = lines[lines.index(next(line for line in lines if line.startswith("per image ("))) :]
    for name in (*(one.name for one in report.numbers), "classes", "effect:", "distance:", "p:", "divergence:"):
        assert any(line.split()[0] == name for line in legend)
    assert all(len(line) <= 120 for line in legend)


def test_the_sentence_ends_with_what_became_of_the_largest_effect(
    spots: nn.Module, reference: DriftReference, draw, blur
) -> None:
    told = []
    for images in (noisy(draw(128, 44)[0]), blur(draw(128, 41)[0])):
        report = detect_drift(spots, images, reference)
        numbers = [one for one in report.numbers if one.drifted and one.name in IMAGE_STATISTICS]
        effects, follows = ({one.name: getattr(one, of) for one in numbers} for of in ("effect", "follows"))
        told.append(largest_effect(effects, report.changes, {name: of for name, of in follows.items() if of}))
        assert report.sentence.partition("(p ")[2].partition(")")[2] == (f"; {told[-1]}" if told[-1] else "")
    assert told[0] == "", "noise is the largest effect, and the first word"
    assert re.fullmatch(r"the largest effect, less noise \(.* standard deviations\), follows from blur", told[1])


def test_of_few_images_quiet_tests_tell_little(spots: nn.Module, reference: DriftReference, draw) -> None:
    few, enough = (detect_drift(spots, draw(count, 11)[0], reference).sentence for count in (15, 64))
    assert few.endswith("; fewer than 64 images tell gross changes alone")
    assert "fewer" not in enough


def test_without_batch_norm_the_images_still_tell(draw) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    report = detect_drift(network, noisy(draw(64, 46)[0]), DriftReference.of(network, draw(256, 45)[0]))
    assert report.layers == ()
    assert "more noise" in report.changes
    assert "no batch-norm" in report.advice
    assert report.balance.estimated is None
    assert report.balance.reason == "the reference was made without labels"


def test_a_pixel_network_is_judged_by_its_mean_answer(draw) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 1)).eval()
    reference = DriftReference.of(network, draw(200, 47)[0])
    assert detect_drift(network, noisy(draw(64, 48)[0]), reference).drift


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (torch.zeros(0, 3, 20, 20), "`images` holds 0: give at least 8"),
        (torch.zeros(1, 3, 20, 20), "`images` holds 1: give at least 8"),
        (torch.zeros(16, 3, 8, 8), r"`images` are \(3, 8, 8\) \(C, H, W\), those of the reference \(3, 20, 20\)"),
        (torch.zeros(16, 1, 20, 20), r"`images` are \(1, 20, 20\)"),
        (torch.zeros(3, 20, 20), "give .N, C, H, W."),
        (torch.zeros(16, 3, 20, 20, dtype=torch.uint8), "give normalised floats"),
        (torch.full((16, 3, 20, 20), torch.nan), "not finite"),
    ],
)
def test_images_that_cannot_be_used_are_refused(
    spots: nn.Module, reference: DriftReference, images: Tensor, told: str
) -> None:
    with pytest.raises(DataError, match=told):
        detect_drift(spots, images, reference)


def test_another_network_or_a_folded_one_is_refused(spots: nn.Module, reference: DriftReference, draw) -> None:
    images, folded, other = draw(64, 49)[0], copy.deepcopy(spots), copy.deepcopy(spots)
    folded.features[4] = nn.Identity()
    with pytest.raises(DataError, match="no batch-norm layer features.4"):
        detect_drift(folded, images, reference)
    other.head = nn.Linear(32, 7)
    with pytest.raises(DataError, match="answers with 7 classes, the network of the reference with 4"):
        detect_drift(other, images, reference)
    with pytest.raises(ParameterError, match="`false_alarm_rate` is 2"):
        detect_drift(spots, images, reference, false_alarm_rate=2)


def test_a_network_of_other_widths_is_named_and_not_its_images(
    spots: nn.Module, reference: DriftReference, draw
) -> None:
    wider = copy.deepcopy(spots)
    wider.features[0], wider.features[1] = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
    wider.features[3] = nn.Conv2d(6, 8, 3, padding=1)
    with pytest.raises(DataError, match="`model` has 6 channels in features.1, the network of the reference 8"):
        detect_drift(wider, draw(32, 5)[0], reference)
