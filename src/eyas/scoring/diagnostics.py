"""Whether scores mean anything: numbers, and warnings in plain words. Pure functions of what a race measured."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_TAU_LIMIT = 2000
_FEWEST_RANKED = 20
"""Ranks of fewer candidates are not judged: by chance alone tau of n unrelated orders has a standard deviation of
sqrt(2(2n + 5) / 9n(n - 1)) (Kendall 1938), 0.16 at 20 and 0.29 at 8, so that sound races fall below 0.2, too."""
LITTLE_AGREEMENT = 0.2
"""Kendall's tau between rungs below which ranks hardly agree."""

ROUNDING = 1e-12
"""Equal scores may differ by this much: a mean's last bits depend on where its numbers lie in memory."""


@dataclass(frozen=True)
class Probe:
    """The unpruned network through the same procedure: recalibrating it should change nothing."""

    original: float
    """Accuracy on the scoring images with the statistics it came with."""
    recalibrated: float
    """Accuracy with statistics re-estimated on the calibration images."""
    standard_error: float
    """Of the difference, paired on the images."""
    chance: float = 0.0
    """Accuracy of answers that know nothing: 1 over the number of classes."""
    chance_error: float = 0.0
    """Standard error of chance on so many images."""

    @property
    def deviations(self) -> float:
        """The difference in standard errors; 0 where there is none."""
        gap = abs(self.recalibrated - self.original)
        return 0.0 if gap == 0 else gap / max(self.standard_error, 1e-12)


def make_probe(original: NDArray[Any], recalibrated: NDArray[Any], classes: int) -> Probe:
    """A probe from how much was right of each image ``(N,)`` or pixel ``(N, ...)``: images are independent."""
    chance = 1 / classes
    original_N, recalibrated_N = (right.reshape(len(right), -1).mean(1) for right in (original, recalibrated))
    gaps = recalibrated_N - original_N
    error = float(gaps.std(ddof=1) / np.sqrt(len(gaps))) if len(gaps) > 1 else float("nan")
    chance_error = float(np.sqrt(chance * (1 - chance) / len(gaps)))
    return Probe(float(original_N.mean()), float(recalibrated_N.mean()), error, chance, chance_error)


def spread(scores: Floats, errors: Floats, paired_error: float) -> dict[str, float]:
    """How far scores lie apart, against how well differences are known.

    All candidates see the same images, so what an image adds to everyone's score cancels in a difference.

    Args:
        scores: of every candidate.
        errors: standard error of each score by itself.
        paired_error: standard error of the difference of two of them.

    Returns:
        ``score_spread`` (standard deviation over candidates), ``median_standard_error``, ``paired_error``, ``signal``
        (spread over paired error: 1 where half of the variance of differences is chance), ``tied_share`` (candidates
        whose score equals another's).
    """
    finite = np.isfinite(scores)
    known = scores[finite]
    error = float(np.median(errors[finite])) if len(known) else float("nan")
    width = float(known.std()) if len(known) else float("nan")
    _, counts = np.unique(known, return_counts=True)
    return {
        "score_spread": width,
        "median_standard_error": error,
        "paired_error": paired_error,
        "signal": width / paired_error if paired_error > 0 else float("nan"),
        "tied_share": float(counts[counts > 1].sum() / len(known)) if len(known) else 0.0,
    }


def share_at_chance(accuracies: Floats, classes: int, images: int) -> float:
    """Share of candidates that are right on so many images no more often than a guess, but for three standard errors.

    NaN without labels.
    """
    if np.isnan(accuracies).all():
        return float("nan")
    chance = 1 / classes
    return float((accuracies < chance + 3 * np.sqrt(chance * (1 - chance) / images)).mean())


def kendall_tau(one: Floats, other: Floats) -> float:
    """Kendall's tau-b: agreement of two orders, 1 the same, -1 the reverse; NaN below two different values.

    Beyond 2,000 values the first 2,000 count.
    """
    one, other = one[:_TAU_LIMIT], other[:_TAU_LIMIT]
    first, second = np.sign(one[:, None] - one), np.sign(other[:, None] - other)
    pairs = np.sqrt(np.square(first).sum() * np.square(second).sum())
    return float((first * second).sum() / pairs) if pairs else float("nan")


def stability(promotions: Sequence[tuple[Mapping[int, float], Mapping[int, float]]]) -> list[float]:
    """Kendall's tau between the finite scores before and after each climb; NaN where there are fewer than two."""
    taus = []
    for before, after in promotions:
        pairs = np.array([[before[c], after[c]] for c in before]).reshape(-1, 2)
        pairs = pairs[np.isfinite(pairs).all(1)]
        taus.append(kendall_tau(*pairs.T) if len(pairs) > 1 else float("nan"))
    return taus


def lowest_tau(numbers: Mapping[str, Any]) -> float:
    """The least agreement of ranks between two rungs with enough candidates to tell; 1 where there are none."""
    climbs = [entered for entered in numbers["entered"][1:] if entered]
    pairs = zip(numbers["rank_stability"], climbs, strict=True)
    return min((tau for tau, ranked in pairs if np.isfinite(tau) and ranked >= _FEWEST_RANKED), default=1.0)


def warnings_for(
    numbers: Mapping[str, Any], probe: Probe | None, candidates: int, trains: Sequence[bool] | None = None
) -> list[str]:
    """What a user should know before trusting the ranking.

    Args:
        numbers: about the race.
        probe: the unpruned network, where there are labels.
        candidates: how many were raced.
        trains: of each rung, whether candidates are trained there; without it none are.
    """
    warnings, trains = [], trains or [False] * len(numbers["entered"])
    if numbers["not_finite"]:
        warnings.append(
            f"{numbers['not_finite']:.0f} of {candidates} candidates have outputs that are not finite; they rank last"
        )
    if candidates > 1:
        warnings += _signal_warnings(numbers, ties_matter=not trains[0])
    warnings += _stability_warnings(numbers, trains)
    if probe and probe.original < probe.chance + 3 * probe.chance_error:
        warnings.append(
            f"the unpruned network is right about {probe.original:.1%} of the scoring images, no more than chance "
            f"({probe.chance:.1%}): the labels are not of these images or count classes in another order, or the "
            "images are not normalised as for training; no score means anything then"
        )
    if probe and probe.deviations > 3:
        warnings.append(
            f"recalibrating the unpruned network moves its accuracy from {probe.original:.3f} to "
            f"{probe.recalibrated:.3f}, {probe.deviations:.1f} standard errors: the calibration images differ from "
            "what it was trained on, in content or in normalisation, or are too few"
        )
    return warnings


def _stability_warnings(numbers: Mapping[str, Any], trains: Sequence[bool]) -> list[str]:
    climbs = [(entered, trained) for entered, trained in zip(numbers["entered"], trains, strict=True) if entered][1:]
    pairs = zip(numbers["rank_stability"], climbs, strict=True)
    judged = [(tau, trained) for tau, (ranked, trained) in pairs if np.isfinite(tau) and ranked >= _FEWEST_RANKED]
    warnings = []
    for after_training, remedy in (
        (False, "between rungs (Kendall tau {:.2f}): give the early rungs more images"),
        (True, "before and after training steps (Kendall tau {:.2f}): let more candidates go on to rungs with steps"),
    ):
        taus = [tau for tau, trained in judged if trained == after_training]
        if taus and min(taus) < LITTLE_AGREEMENT:
            warnings.append(f"ranks hardly agree {remedy.format(min(taus))}")
    return warnings


def _signal_warnings(numbers: Mapping[str, Any], *, ties_matter: bool) -> list[str]:
    if not numbers["score_spread"] > ROUNDING:
        return [
            "all candidates score the same: scoring is at fault, not the candidates; look at the images, the labels "
            "and the network's outputs"
        ]
    warnings = []
    if numbers["signal"] < 1:
        warnings.append(
            f"scores carry little signal: their standard deviation is {numbers['score_spread']:.3g}, where the "
            f"difference of two is known to {numbers['paired_error']:.3g}; use more images, or a larger budget"
        )
    if numbers["tied_share"] > 0.1 and ties_matter:
        warnings.append(
            f"{numbers['tied_share']:.0%} of the scores are ties: give the first rung more images, or use a scorer "
            "that does not count images, such as cross_entropy"
        )
    return warnings


def summary(numbers: Mapping[str, Any], probe: Probe | None) -> dict[str, Any]:
    """Numbers and probe as plain data for a JSON file."""
    shown = dict(numbers)
    if probe:
        shown["probe"] = {**asdict(probe), "deviations": probe.deviations}
    return shown
