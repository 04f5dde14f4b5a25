"""What a race says of itself: each number by its name, and what it means."""

from collections.abc import Iterator, Mapping
from typing import Any

from eyas.operations.report.result_table import percent, signed
from eyas.operations.report.results import Results

WORDS = {
    "candidates": "candidates",
    "distinct": "different candidates",
    "entered": "candidates in each rung",
    "margins": "leader ahead by, after each rung",
    "decided_early": "ended before the last rung",
    "rank_stability": "agreement between rungs",
    "score_spread": "spread of the scores",
    "median_standard_error": "standard error of a score",
    "paired_error": "standard error of a difference",
    "signal": "spread over that error",
    "tied_share": "share of ties",
    "not_finite": "candidates without a number",
    "at_chance": "share at chance",
    "images_forwarded": "images forwarded in each rung",
    "binding": "limit that binds",
    "probe.original": "accuracy of the dense network",
    "probe.recalibrated": "the same, recalibrated",
    "probe.standard_error": "standard error between these",
    "probe.chance": "accuracy of a guess",
    "probe.chance_error": "standard error of a guess",
    "probe.deviations": "recalibrating moved it by",
    "uniform.candidate": "uniform widths: candidate",
    "uniform.score": "uniform widths: score",
    "uniform.accuracy": "uniform widths: accuracy",
    "uniform.rung": "uniform widths: last rung",
    "uniform.rank": "uniform widths: rank",
    "uniform.lead": "lead over uniform widths",
    "uniform.lead_error": "standard error of that lead",
    "uniform.lead_images": "images of that lead",
}
"""What each number is called, by the name that it has in ``diagnostics.json``."""
MEANINGS = {
    "candidates": "Sub-networks that were drawn inside the budget.",
    "distinct": "Those of them that differ from all others in their widths.",
    "entered": "Candidates that each rung judged, first to last; 0 where a rung was skipped.",
    "margins": "After each rung, the leader's smallest lead over another of the best, in standard errors of their "
    "paired difference: where it is small, others are as good.",
    "decided_early": "Whether the leader was beyond doubt before the last rung, so that rungs were skipped.",
    "rank_stability": "Kendall's tau between the ranks of two rungs: 1 is the same order, 0 unrelated ones.",
    "score_spread": "Standard deviation of the scores over all candidates.",
    "median_standard_error": "How well a single score is known.",
    "paired_error": "How well the difference of two scores is known: both are judged on the same images.",
    "signal": "Spread over the error of a difference: below 1, most of what scores differ by is chance.",
    "tied_share": "Candidates whose score equals another's: with many, their order is arbitrary.",
    "not_finite": "Candidates whose outputs hold NaN or infinities; they rank last.",
    "at_chance": "Share of candidates that answer no better than a guess before training.",
    "images_forwarded": "Work of each rung: images that went through a network, training counted as more.",
    "binding": "Of several limits, the one that the winner comes closest to.",
    "probe.original": "Accuracy of the dense network on the score images, as it came.",
    "probe.recalibrated": "The same after its batch-norm statistics were estimated anew: it should hardly move.",
    "probe.standard_error": "Of the difference between the two, image by image.",
    "probe.chance": "Accuracy of a guess among all classes.",
    "probe.chance_error": "Standard error of a guess on so many images.",
    "probe.deviations": "How far recalibrating moved the dense network, in standard errors: above 3, the calibration "
    "images are unlike those that it was trained on, or too few.",
    "uniform.candidate": "Number of the candidate that keeps the same share of channels everywhere.",
    "uniform.score": "Its score.",
    "uniform.accuracy": "Its accuracy on the score images, recalibrated and not fine-tuned.",
    "uniform.rung": "The last rung that it reached, from 0.",
    "uniform.rank": "Its place among all candidates.",
    "uniform.lead": "Mean lead of the winner's score over it, on the same images.",
    "uniform.lead_error": "Standard error of that lead: a lead of less than 3 of them decides nothing.",
    "uniform.lead_images": "Images that the lead was measured on.",
}
"""What it means, by the same name; nested ones have dotted names."""
_IN_WORDS = ("settings", "warnings", "diagnosis")
_SHARES = (
    "at_chance", "tied_share", "probe.original", "probe.recalibrated", "probe.standard_error", "probe.chance",
    "probe.chance_error", "uniform.accuracy",
)  # fmt: skip
_SCORES = (
    "score_spread",
    "median_standard_error",
    "paired_error",
    "uniform.score",
    "uniform.lead",
    "uniform.lead_error",
)
_DENSE_ACCURACIES = ("probe.original", "probe.recalibrated")


def diagnostic_values(results: Results) -> Iterator[tuple[str, str]]:
    """Every number by its name, ready to print; settings are parameters, and words are told elsewhere."""
    for name, value in results.diagnostics.items():
        if name in _IN_WORDS:
            continue
        inner = {f"{name}.{part}": one for part, one in value.items()} if isinstance(value, Mapping) else {name: value}
        for dotted, number in inner.items():
            if number is None and dotted == "uniform.accuracy":  # no labels
                continue
            note = results.comparability.note if dotted in _DENSE_ACCURACIES else ""
            yield dotted, f"{_shown(dotted, number)}{note}"


def _shown(name: str, value: Any) -> str:
    """In the unit that the rest of the page has: shares of images in percent, scores with four decimals."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if name in _SHARES:
            return percent(value)
        if name in _SCORES:
            return signed(value)
        if name == "probe.deviations":
            return f"{value:.1f} standard errors"
    return _short(value)


def _short(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_short, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "not known"
    text = f"{value:.3g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    return text.replace("-", "\N{MINUS SIGN}") if isinstance(value, (int, float)) else text
