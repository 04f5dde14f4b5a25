"""What every drift detector promises; members are looked up, so that a new one is held to it by itself."""

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu
from torch import nn

from eyas.adaptation.detectors import Detector
from eyas.adaptation.drift import DriftReference, detect_drift
from eyas.adaptation.drift.detect_drift import compare
from eyas.adaptation.drift.hyperdimensional_codes import BITS, HyperdimensionalCodes, encode
from eyas.adaptation.drift.observation import Observation, observe
from eyas.adaptation.drift.two_sample_tests import lower_mean_test
from eyas.errors import DataError, ParameterError

KINDS = sorted(Detector.registry)


@pytest.mark.parametrize("kind", KINDS)
def test_clean_windows_raise_no_more_alarms_than_allowed(kind, spots: nn.Module, reference, draw) -> None:
    """One in twenty is allowed of 100: ten or more have a probability of 3 %, at the allowed rate."""
    whole, alarms = observe(spots, draw(100 * 32, 60)[0], reference.layers), 0
    for start in range(0, 100 * 32, 32):
        places = slice(start, start + 32)
        numbers = {name: values[places] for name, values in whole.numbers.items()}
        seen = Observation(numbers, whole.probabilities[places], whole.layers, whole.features[places])
        alarms += compare(seen, reference, detector=kind, false_alarm_rate=0.05).drift
    assert alarms < 10


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_another_kind_are_told_and_twice_alike(kind, spots: nn.Module, reference, draw) -> None:
    images = draw(128, 61)[0] + torch.randn(128, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    report = detect_drift(spots, images, reference, detector=kind)
    assert report.drift
    assert report.changes[0] == "more noise"
    assert report == detect_drift(spots, images, reference, detector=Detector.parse(kind))
    assert not detect_drift(spots, draw(128, 62)[0], reference, detector=kind).drift


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_has_every_number_that_it_names(kind, spots: nn.Module, reference, draw, tmp_path) -> None:
    report = detect_drift(spots, draw(64, 63)[0] * 0.2, reference, detector=kind)
    assert {one.name for one in report.numbers} <= report.means.keys()
    assert all(any(line.startswith(one.name) for line in report.lines()) for one in report.numbers)
    assert report.draw(tmp_path / "drift.png").stat().st_size > 1000


def test_an_unknown_detector_is_refused_with_those_there_are(spots: nn.Module, reference, draw) -> None:
    with pytest.raises(ParameterError, match="unknown detector kind 'hyper'.*distributions, hyperdimensional"):
        detect_drift(spots, draw(32, 5)[0], reference, detector="hyper")


def test_codes_are_signs_of_projections_and_similarity_a_share_of_bits() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(400, 6)) + 3 * np.eye(6)[np.arange(400) % 2]
    codes = HyperdimensionalCodes.of(features, np.arange(400) // 2 % 2)
    bits = encode(features[:5] - codes.centre)
    assert bits.shape == (5, BITS)
    assert (encode(4 * (features[:5] - codes.centre)) == bits).all()  # how far a feature lies out is not seen
    assert (encode(-(features[:5] - codes.centre)) != bits).mean() > 0.99  # an opposite one is the farthest
    by_hand = [max(float((one == bundle).mean()) for bundle in codes.bundles) for one in bits]
    assert codes.similarity(features[:5]) == pytest.approx(by_hand, abs=1e-6)
    assert len(codes.bundles) == 3
    assert len(codes.similarities) == 200


def test_an_angle_is_seen_as_bits_that_differ() -> None:
    """Of two vectors at an angle the share of projections with other signs is that angle over pi (Charikar 2002)."""
    random = np.random.default_rng(1)
    first, second = random.normal(size=(2, 256))
    angle = np.arccos(first @ second / np.linalg.norm(first) / np.linalg.norm(second))
    one, other = encode(np.stack([first, 2 * first + second]))
    assert (one != encode(second[None])[0]).mean() == pytest.approx(angle / np.pi, abs=0.03)
    assert (one != other).mean() < 0.25


def test_clean_images_are_more_similar_than_noisy_ones(spots: nn.Module, reference, draw) -> None:
    """The card's check: AUROC of clean against corrupted images."""
    noisy = draw(400, 64)[0] + 2 * torch.randn(400, 3, 20, 20, generator=torch.Generator().manual_seed(1))
    clean, other = (observe(spots, images, reference.layers).features for images in (draw(400, 65)[0], noisy))
    similar = [reference.codes.similarity(features.numpy()) for features in (clean, other)]
    assert mannwhitneyu(*similar).statistic / 400**2 > 0.6
    assert mannwhitneyu(similar[0], reference.codes.similarities).pvalue > 0.01


def test_the_permutation_test_holds_its_rate_with_few_held_back_images_and_other_classes() -> None:
    """Also where the classes have other means and the window other shares of them: no alarm comes of that."""
    random = np.random.default_rng(2)
    p_values = []
    for number in range(400):
        held_classes, classes = random.integers(0, 2, 60), (random.random(80) < 0.9).astype(int)
        held, here = (random.normal(size=len(of)) - 3 * of for of in (held_classes, classes))
        p_values.append(lower_mean_test(held, held_classes, here, classes, smallest=0.05, seed=number))
    assert np.mean(np.array(p_values) <= 0.05) < 0.08  # three standard errors above the rate
    assert np.mean(np.array(p_values) <= 0.5) > 0.4
    assert lower_mean_test(held, held_classes, here - 1, classes, smallest=0.01) < 0.01
    assert lower_mean_test(held, held_classes, here + 1, classes, smallest=0.01) > 0.9


def test_codes_stay_in_the_file_and_a_reference_without_them_is_refused(
    spots: nn.Module, reference, draw, tmp_path
) -> None:
    loaded, images = DriftReference.load(reference.save(tmp_path / "whole")), draw(64, 66)[0]
    told = [detect_drift(spots, images, one, detector="hyperdimensional") for one in (reference, loaded)]
    assert told[0] == told[1]
    older = DriftReference(**{**reference.__dict__, "codes": None})
    older = DriftReference.load(older.save(tmp_path / "older"))
    assert not detect_drift(spots, images, older).drift
    with pytest.raises(DataError, match="holds no codes of features.*take the `detector` distributions"):
        detect_drift(spots, images, older, detector="hyperdimensional")


def test_features_of_another_network_are_refused(reference) -> None:
    with pytest.raises(DataError, match="`model` answers from 7 features, the network of the reference from 32"):
        reference.codes.similarity(np.zeros((3, 7)))


def test_damaged_codes_are_refused(reference, tmp_path) -> None:
    wrong = HyperdimensionalCodes(**{**reference.codes.__dict__, "similarities": reference.codes.similarities + 1})
    path = DriftReference(**{**reference.__dict__, "codes": wrong}).save(tmp_path / "wrong")
    with pytest.raises(DataError, match="is no drift reference.*codes of features are none"):
        DriftReference.load(path)
