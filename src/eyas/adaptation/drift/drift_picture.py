"""A drift report as a picture."""

from typing import TYPE_CHECKING

from eyas.adaptation.drift.drift_report import DriftReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LINEAR = 5
"""Standard deviations that an axis shows as they are; more are compressed."""
_CLEAN, _HERE, _QUIET = "#8a8f98", "#c2410c", "#b8bdc7"


def draw_report(report: DriftReport) -> "Figure":
    """Left the layers' distances beside those of clean windows, right the numbers per image; the sentence above."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, max(4.2, 1.6 + 0.24 * len(report.layers))), layout="constrained")
    figure.suptitle(f"{report.sentence}\n{report.advice}", fontsize=10, ha="left", x=0.01, wrap=True)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1))
    _draw_layers(left, report)
    _draw_numbers(right, report)
    return figure


def _draw_layers(axes: "Axes", report: DriftReport) -> None:
    axes.set_title("Batch-norm layers: divergence from what they hold", fontsize=9, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    if not report.layers:
        axes.text(0.5, 0.5, "no batch-norm layers", ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    places = range(len(report.layers))
    axes.barh(places, [layer.symmetric_kl for layer in report.layers], color=_HERE, height=0.7, label="these images")
    clean = [layer.clean_kl for layer in report.layers]
    axes.scatter(clean, places, marker="|", s=60, color="black", label="largest of clean windows", zorder=3)
    axes.set_yticks(places, [layer.name for layer in report.layers], fontsize=7)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("symmetric KL divergence, mean over channels", fontsize=8)
    axes.figure.legend(fontsize=8, frameon=False, loc="outside lower left", ncols=2)


def _draw_numbers(axes: "Axes", report: DriftReport) -> None:
    axes.set_title("Per image: standard deviations from clean images", fontsize=9, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    places = range(len(report.numbers))
    colours = [_HERE if one.drifted else _QUIET for one in report.numbers]
    axes.barh(places, [one.effect for one in report.numbers], color=colours, height=0.7)
    axes.axvline(0, color=_CLEAN, linewidth=0.8)
    axes.set_yticks(places, [one.name for one in report.numbers], fontsize=8)
    axes.invert_yaxis()
    if max(abs(one.effect) for one in report.numbers) > MOST_LINEAR:
        axes.set_xscale("symlog", linthresh=1)
        axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("coloured: changed; grey: as before", fontsize=8)
