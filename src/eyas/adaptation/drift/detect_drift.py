"""Whether images of the field are still of the training's kind."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from eyas.adaptation.detectors import Detector
from eyas.adaptation.drift.distinct_images import DistinctImages, copies_left_out
from eyas.adaptation.drift.drift_reference import DriftReference
from eyas.adaptation.drift.drift_report import BalanceDrift, DriftReport, LayerDrift, NumberDrift
from eyas.adaptation.drift.drift_words import (
    CLASS_BALANCE,
    OTHER_CONTENT,
    explained_changes,
    largest_effect,
    name_changes,
)
from eyas.adaptation.drift.expected_help import FEWEST_IMAGES, expect_help
from eyas.adaptation.drift.image_statistics import IMAGE_STATISTICS
from eyas.adaptation.drift.observation import Observation, observe, require_images
from eyas.adaptation.drift.two_sample_tests import class_weights
from eyas.adaptation.fewest_images import FEWEST_IN_WINDOW
from eyas.errors import DataError, ParameterError

DEFAULT_DETECTOR = "distributions"
CONFIRMED = 0.5
"""Share of a change that is seen against clean images of all classes, too, as they come; with less it is not named."""


def detect_drift(
    model: nn.Module,
    images: Tensor,
    reference: DriftReference,
    *,
    detector: Detector | str | Mapping[str, Any] = DEFAULT_DETECTOR,
    false_alarm_rate: float = 0.001,
    batch_size: int = 256,
    seed: int = 0,
    output: int | str | None = None,
) -> DriftReport:
    """Compare a window of images with the reference.

    A window of clean images is called drift at most as often as ``false_alarm_rate``, however the detector tests.

    Args:
        model: the network of the reference; it is left as it was.
        images: a window of the field, normalised floats ``(N, C, H, W)``; at least 8, better 128. Of copies the first
            counts: a repeated image would make any difference look sure.
        reference: what :meth:`DriftReference.of` made.
        detector: a member of :class:`eyas.adaptation.detectors.Detector`, or its kind.
        false_alarm_rate: how often a clean window may be called drift.
        batch_size: images per forward pass.
        seed: of the permutations.
        output: as in :meth:`DriftReference.of`.

    Raises:
        DataError: the images cannot be used, are of another size than the reference's, or the network is another one.
        ParameterError: the rate is none.
    """
    images = require_images(images, FEWEST_IN_WINDOW)
    if tuple(images.shape[1:]) != reference.image_shape:
        msg = f"`images` are {tuple(images.shape[1:])} (C, H, W), those of the reference {reference.image_shape}"
        raise DataError(msg)
    distinct = DistinctImages.of(images, FEWEST_IN_WINDOW)
    seen = observe(model, distinct.images, reference.layers, batch_size, output=output)
    _require_same_network(seen, reference)
    reference.require_network(model)
    return compare(
        seen, reference, detector=detector, false_alarm_rate=false_alarm_rate, seed=seed, copies=distinct.copies
    )


def compare(
    seen: Observation,
    reference: DriftReference,
    *,
    detector: Detector | str | Mapping[str, Any] = DEFAULT_DETECTOR,
    false_alarm_rate: float = 0.001,
    seed: int = 0,
    copies: int = 0,
) -> DriftReport:
    """:func:`detect_drift` of images that the network has answered already, each once; so many copies were left out.

    Raises:
        DataError: another network than the reference's answered, or the reference is none for the detector.
        ParameterError: the rate is none.
    """
    if not 0 < false_alarm_rate < 1:
        msg = f"`false_alarm_rate` is {false_alarm_rate:g}: give a share between 0 and 1, as 0.001"
        raise ParameterError(msg)
    _require_same_network(seen, reference)
    detection = Detector.parse(detector)(seen, reference, false_alarm_rate, seed)
    weights, images = class_weights(reference.predicted, seen.predicted.numpy()), len(seen.probabilities)
    means = {
        name: (float(seen.numbers[name].mean()), float(values @ weights)) for name, values in reference.numbers.items()
    }
    shares = {
        name: (here - float(reference.numbers[name].mean())) / ((here - clean) or 1.0)
        for name, (here, clean) in means.items()
    }
    looks = _changed_looks(detection.numbers, shares)
    changes, follows = _name_changes(detection.numbers, detection.balance, looks), explained_changes(looks)
    layers = _layer_drifts(seen, reference)
    adapt, advice = expect_help(detection.numbers, layers, detection.balance, images)
    if changes:
        drifted = {one.name: one.effect for one in detection.numbers if one.drifted and one.name in IMAGE_STATISTICS}
        what = f"{', '.join(changes)} (p {_bounded(detection.p_value)})"
        what = "; ".join(filter(None, (what, largest_effect(drifted, changes, follows))))
    else:
        what = _without_drift(detection.p_value, detection.tests, false_alarm_rate)
        what += f"; fewer than {FEWEST_IMAGES} images tell gross changes alone" if images < FEWEST_IMAGES else ""
    return DriftReport(
        sentence=f"{'drift' if changes else 'no drift'} in {images} images{copies_left_out(copies)}: {what}",
        drift=bool(changes),
        images=images,
        copies=copies,
        changes=changes,
        adapt=adapt,
        advice=advice,
        false_alarm_rate=false_alarm_rate,
        numbers=tuple(one.model_copy(update={"follows": follows.get(one.name, "")}) for one in detection.numbers),
        layers=layers,
        balance=detection.balance,
        means=means | detection.means,
    )


def _layer_drifts(seen: Observation, reference: DriftReference) -> tuple[LayerDrift, ...]:
    return tuple(
        LayerDrift(
            name=name,
            symmetric_kl=held.symmetric_kl(seen.layers[name]),
            mean_shift=held.mean_shift(seen.layers[name]),
            clean_kl=reference.clean[name],
        )
        for name, held in reference.layers.items()
    )


def _require_same_network(seen: Observation, reference: DriftReference) -> None:
    classes = seen.probabilities.shape[1]
    if classes != len(reference.counts):
        msg = f"`model` answers with {classes} classes, the network of the reference with {len(reference.counts)}"
        raise DataError(msg)
    missing = reference.layers.keys() - seen.layers.keys()
    if missing:
        msg = (
            f"`model` has no batch-norm layer {min(missing)}, which the network of the reference has: give the network "
            "as it was then, not folded, or make a reference of this one"
        )
        raise DataError(msg)


def _changed_looks(numbers: tuple[NumberDrift, ...], shares: dict[str, float]) -> dict[str, float]:
    """Effects of the image statistics that changed.

    A network that takes noisy images for frogs has them held against clean frogs, and their colours seem to change:
    only what moved at least half as far (``shares``) from all clean images as well is taken, where anything did.
    """
    looks = {one.name: one.effect for one in numbers if one.drifted and one.name in IMAGE_STATISTICS}
    return {name: effect for name, effect in looks.items() if shares[name] >= CONFIRMED} or looks


def _name_changes(numbers: tuple[NumberDrift, ...], balance: BalanceDrift, looks: dict[str, float]) -> tuple[str, ...]:
    """In words; that the class balance changed is said only where the images of each class look as they did."""
    if looks:
        return name_changes(looks)
    if balance.drifted:
        return (CLASS_BALANCE,)
    return (OTHER_CONTENT,) if any(one.drifted for one in numbers) else ()


def _without_drift(smallest: float, tests: int, rate: float) -> str:
    """How near it was, in words: p-values are adjusted for the number of tests."""
    if smallest > rate:
        nearest = f"the nearest has p = {smallest:.2g}, and p up to {rate:g} counts as drift"
        told = f"in none of {tests} tests do they differ" if tests > 1 else "their features do not differ"
        return f"{told} from clean ones ({nearest})"
    return f"they differ from clean ones (p {_bounded(smallest)}), but by too little to matter"


def _bounded(p_value: float) -> str:
    return "below 1e-6" if p_value < 1e-6 else f"= {p_value:.1g}"
