"""A drift report as text: sentence, advice, a table of the numbers, one of the layers, and what all of these are."""

from collections.abc import Iterator

from eyas.adaptation.drift.drift_report import DriftReport
from eyas.adaptation.drift.window_tests import SMALLEST_DISTANCE

MEANINGS = {
    "brightness": "mean of the pixels",
    "contrast": "standard deviation of the grey image, averaged over 4 x 4 pixels",
    "saturation": "how far the channels are apart, 0 is grey",
    "tint": "first channel less third, above 0 is warm",
    "sharpness": "steps to the next pixel over steps two pixels wide: 0.5 is smooth, 1 pure noise",
    "noise": "median response to a filter that planes and edges leave at zero",
    "blockiness": "logarithm of steps at the borders of 8 x 8 blocks over all other steps, 0 without blocks",
    "entropy": "of the answer, in nats: 0 is sure",
    "confidence": "probability of the likeliest class",
    "layers": "squared distance of one image's channel means from those that batch-norm holds, in variances",
    "similarity": "of the features' binary code to the nearest bundle of clean images', 0 to 1",
}
"""What each number per image is; that of a pixel as it is normalised."""


def drift_lines(report: DriftReport) -> list[str]:
    """All of a report, a line each."""
    lines = [report.sentence, report.advice, ""]
    lines.append(f"{'per image':<12}{'here':>10}{'clean':>10}{'effect':>9}{'distance':>10}{'p':>10}")
    for one in report.numbers:
        here, clean = report.means[one.name]
        mark = ("  changed, as follows from " + one.follows if one.follows else "  changed") if one.drifted else ""
        row = f"{one.name:<12}{here:>10.3g}{clean:>10.3g}{one.effect:>+9.2f}{one.distance:>10.2f}{one.p_value:>10.2g}"
        lines.append(row + mark)
    mark = "  changed" if report.balance.drifted else ""
    lines.append(f"{'classes':<41}{report.balance.distance:>10.2f}{report.balance.p_value:>10.2g}{mark}")
    if report.layers:
        wide = max(len(layer.name) for layer in report.layers) + 2
        lines += ["", f"{'batch-norm':<{wide}}{'divergence':>11}{'clean':>9}{'mean shift':>12}"]
        lines += [
            f"{one.name:<{wide}}{one.symmetric_kl:>11.3g}{one.clean_kl:>9.3g}{one.mean_shift:>12.3g}"
            for one in report.layers
        ]
    return [*lines, "", *_legend(report)]


def _legend(report: DriftReport) -> Iterator[str]:
    yield "per image (pixels are normalised: 0 is the training images' mean, 1 their standard deviation):"
    for one in report.numbers:
        yield f"  {one.name:<12}{MEANINGS[one.name]}"
    yield f"  {'classes':<12}distance of the shares of predicted classes, 0 to 1"
    yield "  here, clean: mean over these images, and over clean ones of the same predicted classes"
    yield "  effect: the difference of the two in standard deviations of the clean images"
    yield "  distance: largest gap between the distribution functions, 0 to 1"
    yield "  p: how often chance alone makes such a distance, times the number of tests"
    rate = report.false_alarm_rate
    yield f"  changed: p is at most {rate:g}, and the distance at least {SMALLEST_DISTANCE:g}"
    if report.layers:
        yield "batch-norm, of all images together (the spread of single ones can hide from layers what shows here):"
        yield "  divergence: symmetric KL in nats, mean over channels, between what a layer holds and what it sees"
        yield "  clean: the largest divergence of a clean window"
        yield "  mean shift: of what it sees, in standard deviations that it holds, mean over channels"
