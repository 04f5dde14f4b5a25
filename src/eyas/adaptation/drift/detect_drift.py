"""Whether images of the field are still of the training's kind."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from eyas.adaptation.drift.class_balance import BalanceEstimate, estimate_balance
from eyas.adaptation.drift.drift_reference import DriftReference
from eyas.adaptation.drift.drift_report import BalanceDrift, DriftReport, LayerDrift, NumberDrift
from eyas.adaptation.drift.drift_words import CLASS_BALANCE, OTHER_CONTENT, name_changes
from eyas.adaptation.drift.expected_help import expect_help
from eyas.adaptation.drift.image_statistics import IMAGE_STATISTICS
from eyas.adaptation.drift.observation import Observation, observe, require_images
from eyas.adaptation.drift.two_sample_tests import class_balance_test, class_weights, weighted_kolmogorov_smirnov
from eyas.adaptation.fewest_images import FEWEST_IN_WINDOW
from eyas.errors import DataError, ParameterError

SMALLEST_DISTANCE = 0.1
"""Of distribution functions: less is no drift, however surely a very large window tells it."""
CONFIRMED = 0.5
"""Share of a change that is seen against clean images of all classes, too, as they come; with less it is not named."""


def detect_drift(
    model: nn.Module,
    images: Tensor,
    reference: DriftReference,
    *,
    false_alarm_rate: float = 0.001,
    batch_size: int = 256,
    seed: int = 0,
) -> DriftReport:
    """Compare a window of images with the reference.

    Each number per image is tested against clean images that are answered as often with each class; the predicted
    classes are tested by permutation. All p-values are multiplied by the number of tests (Bonferroni), so that a window
    of clean images is called drift at most as often as ``false_alarm_rate``.

    Args:
        model: the network of the reference; it is left as it was.
        images: a window of the field, normalised floats ``(N, C, H, W)``; at least 8, better 128.
        reference: what :meth:`DriftReference.of` made.
        false_alarm_rate: how often a clean window may be called drift.
        batch_size: images per forward pass.
        seed: of the permutations.

    Raises:
        DataError: the images cannot be used, are of another size than the reference's, or the network is another one.
        ParameterError: the rate is none.
    """
    require_images(images, FEWEST_IN_WINDOW)
    if tuple(images.shape[1:]) != reference.image_shape:
        msg = f"`images` are {tuple(images.shape[1:])} (C, H, W), those of the reference {reference.image_shape}"
        raise DataError(msg)
    seen = observe(model, images, reference.layers, batch_size)
    return compare(seen, reference, false_alarm_rate=false_alarm_rate, seed=seed)


def compare(
    seen: Observation, reference: DriftReference, *, false_alarm_rate: float = 0.001, seed: int = 0
) -> DriftReport:
    """:func:`detect_drift` of images that the network has answered already.

    Raises:
        DataError: another network than the reference's answered.
        ParameterError: the rate is none.
    """
    if not 0 < false_alarm_rate < 1:
        msg = f"`false_alarm_rate` is {false_alarm_rate:g}: give a share between 0 and 1, as 0.001"
        raise ParameterError(msg)
    _require_same_network(seen, reference)
    weights = class_weights(reference.predicted, seen.predicted.numpy())
    tests, images = len(reference.numbers) + 1, len(seen.probabilities)
    numbers = tuple(
        _test_number(name, values, weights, seen.numbers[name].numpy(), (tests, false_alarm_rate))
        for name, values in reference.numbers.items()
    )
    balance = _test_balance(seen, reference, (tests, false_alarm_rate), seed)
    means = {
        name: (float(seen.numbers[name].mean()), float(values @ weights)) for name, values in reference.numbers.items()
    }
    shares = {
        name: (here - float(reference.numbers[name].mean())) / ((here - clean) or 1.0)
        for name, (here, clean) in means.items()
    }
    changes = _name_changes(numbers, balance, shares)
    layers = tuple(
        LayerDrift(
            name=name,
            symmetric_kl=held.symmetric_kl(seen.layers[name]),
            mean_shift=held.mean_shift(seen.layers[name]),
            clean_kl=reference.clean[name],
        )
        for name, held in reference.layers.items()
    )
    adapt, advice = expect_help(numbers, layers, balance, images)
    smallest = min(balance.p_value, *(one.p_value for one in numbers))
    told = f"no drift in {images} images: {_without_drift(smallest, tests, false_alarm_rate)}"
    if changes:
        told = f"drift in {images} images: {', '.join(changes)} (p {_bounded(smallest)})"
    return DriftReport(
        sentence=told,
        drift=bool(changes),
        images=images,
        changes=changes,
        adapt=adapt,
        advice=advice,
        false_alarm_rate=false_alarm_rate,
        numbers=numbers,
        layers=layers,
        balance=balance,
        means=means,
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


def _test_number(
    name: str,
    clean_M: NDArray[np.float64],
    weights_M: NDArray[np.float64],
    here_N: NDArray[np.float64],
    allowed: tuple[int, float],
) -> NumberDrift:
    """One number; ``allowed`` are the tests there are and the rate of false alarms in all."""
    tests, rate = allowed
    distance, p_value = weighted_kolmogorov_smirnov(clean_M, weights_M, here_N)
    mean = float(clean_M @ weights_M)
    deviation = float((clean_M - mean) ** 2 @ weights_M) ** 0.5
    smallest = float(np.finfo(np.float32).tiny)
    effect = (float(here_N.mean()) - mean) / max(deviation, 1e-6 * abs(mean), smallest)
    adjusted = min(1.0, p_value * tests)
    drifted = adjusted <= rate and distance >= SMALLEST_DISTANCE
    return NumberDrift(name=name, effect=effect, distance=distance, p_value=adjusted, drifted=drifted)


def _test_balance(seen: Observation, reference: DriftReference, allowed: tuple[int, float], seed: int) -> BalanceDrift:
    tests, rate = allowed
    counts = seen.counts.numpy()
    distance, p_value = class_balance_test(reference.counts, counts, smallest=rate / tests, seed=seed)
    estimate = BalanceEstimate(None, "the reference was made without labels")
    if reference.confusion is not None:
        estimate = estimate_balance(reference.confusion, counts)
    adjusted = min(1.0, p_value * tests)
    return BalanceDrift(
        reference=tuple((reference.counts / reference.counts.sum()).tolist()),
        predicted=tuple((counts / counts.sum()).tolist()),
        estimated=estimate.shares,
        reason=estimate.reason,
        distance=distance,
        p_value=adjusted,
        drifted=adjusted <= rate and distance >= SMALLEST_DISTANCE,
    )


def _name_changes(numbers: tuple[NumberDrift, ...], balance: BalanceDrift, shares: dict[str, float]) -> tuple[str, ...]:
    """In words; that the class balance changed is said only where the images of each class look as they did.

    A network that takes noisy images for frogs has them held against clean frogs, and their colours seem to change:
    told is what moved at least half as far (``shares``) from all clean images as well, where anything did.
    """
    drifted = {one.name: one.effect for one in numbers if one.drifted}
    looks = {name: effect for name, effect in drifted.items() if name in IMAGE_STATISTICS}
    confirmed = {name: effect for name, effect in looks.items() if shares[name] >= CONFIRMED}
    if looks:
        return name_changes(confirmed or looks)
    if balance.drifted:
        return (CLASS_BALANCE,)
    return (OTHER_CONTENT,) if drifted else ()


def _without_drift(smallest: float, tests: int, rate: float) -> str:
    """How near it was, in words: p-values are adjusted for the number of tests."""
    if smallest > rate:
        nearest = f"the nearest has p = {smallest:.2g}, and p up to {rate:g} counts as drift"
        return f"in none of {tests} tests do they differ from clean ones ({nearest})"
    return f"they differ from clean ones (p {_bounded(smallest)}), but by too little to matter"


def _bounded(p_value: float) -> str:
    return "below 1e-6" if p_value < 1e-6 else f"= {p_value:.1g}"
