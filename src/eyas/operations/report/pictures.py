"""The report's pictures. Colours are those of Okabe and Ito, told apart with any colour vision."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from eyas.operations.report.results import Candidate, Results
from eyas.scoring.scorers import Scorer

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#BBBBBB"
STAGES = {"baseline": ("dense network", BLUE, "o"), "finetune": ("pruned network", ORANGE, "s")}
RUNGS = {1: (BLUE,), 2: ("#7CC4EE", "#003A5C"), 3: ("#A6D3EE", "#3C98CE", "#003A5C")}
"""By the number of rungs, light to dark: the further a candidate came."""
DOTS_PER_INCH = 160


def draw_all(results: Results, folder: Path) -> dict[str, Path]:
    """Draw every picture into ``folder``; returns their paths by name."""
    label = score_label(results)
    pictures: dict[str, Callable[[], Figure]] = {
        "scores": lambda: score_against_macs(results, label),
        "distribution": lambda: score_distribution(results, label),
        "widths": lambda: kept_widths(results),
        "curves": lambda: training_curves(results),
    }
    return {name: _save(draw(), folder / f"{name}.png") for name, draw in pictures.items()}


def score_label(results: Results) -> str:
    """What stands beside an axis of scores: what they are, and whether a reward multiplies them."""
    chosen = results.diagnostics.get("settings", {}).get("scorer", {}).get("kind", "")
    scorer = Scorer.registry.get("top1" if results.ranked_by_accuracy else chosen, Scorer)
    return f"AdaBN score ({scorer.label}{' x reward' if results.reward else ''})"  # type: ignore[attr-defined]


def score_against_macs(results: Results, label: str) -> Figure:
    """Every candidate as a dot, the winner as a star."""
    figure, (axes,) = _figure(6.4, 4.0)
    divisor, word = unit(max(candidate.macs for candidate in results.candidates))
    for name, color, group in by_rung(results):
        macs = np.array([candidate.macs for candidate in group]) / divisor
        scores = [candidate.score for candidate in group]
        axes.scatter(macs, scores, s=16, color=color, alpha=0.75, linewidths=0, label=name)
    winner = results.winner
    place = winner.macs / divisor, winner.score
    name = f"winner (candidate {winner.index})"
    axes.scatter(*place, s=170, marker="*", color=ORANGE, edgecolor="black", linewidth=0.7, zorder=3, label=name)
    axes.errorbar(*place, yerr=winner.standard_error, color="black", linewidth=0.9, capsize=3, zorder=2)
    axes.set_xlabel(f"MACs per image ({word})")
    axes.set_ylabel(label)
    axes.xaxis.set_major_formatter(ticker.ScalarFormatter(useOffset=False))
    axes.xaxis.set_major_locator(ticker.MaxNLocator(6))
    _legend_below(figure, axes)
    return figure


def score_distribution(results: Results, label: str) -> Figure:
    """How many candidates have which score; the winner as a line."""
    figure, (axes,) = _figure(6.4, 3.6)
    groups = by_rung(results)
    values = [[c.score for c in group if math.isfinite(c.score)] for _, _, group in groups]
    names = [name for name, _, _ in groups]
    colors = [color for _, color, _ in groups]
    bins = min(40, max(10, len(results.candidates) // 8))
    axes.hist(values, bins=bins, stacked=True, color=colors, label=names, edgecolor="white", linewidth=0.4)
    score = results.winner.score
    axes.axvline(score, color=ORANGE, linewidth=1.8, linestyle="--", label="winner")
    axes.set_xlabel(label)
    axes.set_ylabel("candidates")
    axes.yaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    _legend_below(figure, axes)
    return figure


def kept_widths(results: Results) -> Figure:
    """A bar per group: what the winner keeps of the dense width."""
    groups = results.groups
    figure, (axes,) = _figure(6.4, 1.3 + 0.22 * len(groups))
    rows = np.arange(len(groups))
    axes.barh(rows, [group.channels for group in groups], color=GREY, height=0.78, label="dense")
    axes.barh(rows, [group.kept for group in groups], color=BLUE, height=0.78, label="kept")
    widest = max(group.channels for group in groups)
    for row, group in enumerate(groups):
        text = f"{group.kept} of {group.channels}"
        axes.text(group.channels + 0.012 * widest, row, text, va="center", fontsize=7)
    axes.set_yticks(rows, [shortened(group.name) for group in groups], fontsize=7.5)
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.set_xlim(0, 1.14 * widest)
    axes.set_xlabel("channels")
    axes.grid(visible=False, axis="y")
    _legend_below(figure, axes)
    return figure


def training_curves(results: Results) -> Figure:
    """Training loss and accuracy on the score split, of the dense and of the pruned network."""
    figure, panels = _figure(8.0, 3.3, columns=2)
    titles = (("train_loss", "training loss"), ("score", f"{results.task.words} on the score split (%)"))
    for axes, (column, title) in zip(panels, titles, strict=True):
        scale = 100.0 if column == "score" else 1.0
        for stage, (name, color, marker) in STAGES.items():
            history = results.histories[stage]
            values = [scale * value for value in getattr(history, column)]
            if values:
                shown = marker if len(values) <= 40 else ""
                axes.plot(history.epoch, values, color=color, marker=shown, markersize=3.5, label=name)
        if not axes.lines:
            axes.text(0.5, 0.5, "nothing was trained", transform=axes.transAxes, ha="center", va="center")
        axes.set_xlabel("epoch")
        axes.set_ylabel(title)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    _legend_below(figure, panels[0])
    return figure


def by_rung(results: Results) -> list[tuple[str, str, list[Candidate]]]:
    """Candidates by the last rung they reached, lowest first, each with a label and a colour."""
    numbers = sorted({candidate.rung for candidate in results.candidates})
    lowest, middle, highest = RUNGS[3]
    shades = RUNGS.get(len(numbers), (lowest, *[middle] * (len(numbers) - 2), highest))
    groups = [[candidate for candidate in results.candidates if candidate.rung == number] for number in numbers]
    ends = [f"out after rung {number + 1}" for number in numbers[:-1]] + ["in the last rung" if numbers[1:] else ""]
    names = [
        f"{f'{len(group)} candidates {end}'.rstrip()}, judged on {results.judged_on(group[0])}"
        for end, group in zip(ends, groups, strict=True)
    ]
    return list(zip(names, shades, groups, strict=True))


def unit(largest: float) -> tuple[float, str]:
    """A divisor that leaves readable numbers, and its name."""
    units = ((1e9, "billions"), (1e6, "millions"))
    return next((one for one in units if largest >= one[0]), (1e3, "thousands"))


def _figure(width: float, height: float, columns: int = 1) -> tuple[Figure, Sequence[Axes]]:
    """A figure of its own canvas (no global state), with plain axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    panels: Any = figure.subplots(1, columns, squeeze=False)[0]
    for axes in panels:
        axes.grid(visible=True, color="#E6E6E6", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def _legend_below(figure: Figure, axes: Axes) -> None:
    """One legend under everything, so that it never covers data."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=8.5)


def shortened(name: str, longest: int = 34) -> str:
    """A name by its end where it is too long."""
    return name if len(name) <= longest else f"…{name[1 - longest :]}"


def _save(figure: Figure, path: Path) -> Path:
    """PNG without the library's version in it."""
    figure.savefig(path, dpi=DOTS_PER_INCH, metadata={"Software": None})
    return path
