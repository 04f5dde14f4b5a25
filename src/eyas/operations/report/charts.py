"""The HTML report's charts as plain values in percent of their size, so that a template draws them at any size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from eyas.operations.report.pictures import by_rung, unit
from eyas.operations.report.result_table import count, percent, signed
from eyas.operations.report.results import Candidate, Results
from eyas.operations.report.svg_axes import ChartAxis, axis_over

MOST_CANDIDATES = 2000
"""Of more the best are drawn, which keeps the page small."""
Ends = tuple[float, float]


@dataclass(frozen=True)
class Mark:
    """A point of a chart; places are in percent from the left and from the top."""

    shape: str
    x: float
    y: float
    tip: str
    """What hovering tells, line by line."""
    candidate: int | None = None
    """Whose widths hovering draws."""
    x_bar: Ends | None = None
    y_bar: Ends | None = None
    label: str = ""
    """What is written beside it."""
    label_place: tuple[float, float, str] = (14.0, 0.0, "start")
    """Where: pixels right of it and below, and which end of the text stands there."""


@dataclass(frozen=True)
class Chart:
    """Points and lines between two axes."""

    title: str
    x: ChartAxis
    y: ChartAxis
    marks: tuple[Mark, ...] = ()
    curves: tuple[tuple[str, str], ...] = ()
    """A shape's name, and points as ``x,y x,y``."""
    legend: tuple[tuple[str, str], ...] = ()
    """A shape's name, and what it stands for."""
    notes: tuple[str, ...] = ()

    def mark(self, shape: str, at: Ends, tip: str, *, candidate: int | None = None,
             x_bar: Ends | None = None, y_bar: Ends | None = None, label: str = "") -> Mark:  # fmt: skip
        """A point at these values."""
        across = None if x_bar is None else (self.x.place(x_bar[0]), self.x.place(x_bar[1]))
        up = None if y_bar is None else (100 - self.y.place(y_bar[1]), 100 - self.y.place(y_bar[0]))
        return Mark(shape, self.x.place(at[0]), 100 - self.y.place(at[1]), tip, candidate, across, up, label)


def shown_candidates(results: Results) -> list[Candidate]:
    """Those with a score, best last, so that they lie on top; of very many the best."""
    finite = [candidate for candidate in results.candidates if math.isfinite(candidate.score)]
    return sorted(finite, key=lambda candidate: candidate.rank)[:MOST_CANDIDATES][::-1]


def score_chart(results: Results, label: str) -> Chart:
    """Every candidate's score against its MACs, with uniform widths and the winner marked."""
    shown, winner, uniform = shown_candidates(results), results.winner, results.uniform
    divisor, word = unit(max(candidate.macs for candidate in shown))
    scores = [*(candidate.score for candidate in shown), *error_ends(winner)]
    chart = Chart(
        "Score of every candidate",
        axis_over((candidate.macs / divisor for candidate in shown), f"MACs per image ({word})"),
        axis_over(scores, label),
    )
    rungs = {number: place for place, number in enumerate(sorted({candidate.rung for candidate in shown}))}
    special = {winner.index: "winner"} | ({uniform.index: "uniform"} if uniform and uniform != winner else {})
    marks = []
    for candidate in sorted(shown, key=lambda one: one.index in special):
        shape = special.get(candidate.index, f"candidate rung{min(rungs[candidate.rung], 2)}")
        bar = error_ends(candidate) if shape == "winner" else None
        at = candidate.macs / divisor, candidate.score
        after = finetuned(results, candidate)
        beside = "" if after is None else f"test {percent(after)}"
        marks.append(
            chart.mark(shape, at, _told(results, candidate), candidate=candidate.index, y_bar=bar, label=beside)
        )
    groups = by_rung(results)
    legend = [(f"candidate rung{min(number, 2)}", name) for number, (name, _, _) in enumerate(groups)]
    for one in filter(None, (winner, uniform)):
        if one.index in special:
            came = after_tuning(results, one) or "not fine-tuned, so not known on test images"
            legend.append((special[one.index], f"{_NAMES[special[one.index]]} (candidate {one.index}): {came}"))
    return Chart(chart.title, chart.x, chart.y, tuple(marks), (), tuple(legend), _left_out(results, shown))


def loss_chart(results: Results) -> Chart:
    """Training loss by epoch."""
    curves = {stage: history.train_loss for stage, history in results.histories.items()}
    return _by_epoch(results, "Training loss", curves)


def learning_chart(results: Results) -> Chart:
    """What decides, on the score split, by epoch."""
    curves = {stage: tuple(100 * value for value in history.score) for stage, history in results.histories.items()}
    words = results.task.words
    return _by_epoch(results, f"{words[0].upper()}{words[1:]} on the score images (%)", curves)


def error_ends(candidate: Candidate) -> Ends:
    """A standard error to each side of a score."""
    return candidate.score - candidate.standard_error, candidate.score + candidate.standard_error


_NAMES = {"winner": "winner", "uniform": "uniform widths"}
_TRAINED = {"baseline": ("dense", "dense network"), "finetune": ("pruned", "pruned network, fine-tuned")}


def _by_epoch(results: Results, title: str, values: dict[str, tuple[float, ...]]) -> Chart:
    epochs = [epoch for history in results.histories.values() for epoch in history.epoch]
    most = 100.0 if "%" in title else math.inf
    x = axis_over(epochs, "epoch", integer=True)
    chart = Chart(title, x, axis_over((value for row in values.values() for value in row), "", most=most))
    curves, marks, legend = [], [], []
    for stage, row in values.items():
        shape, name = _TRAINED[stage]
        dots = [
            chart.mark(f"dot {shape}", (epoch, value), f"{name}\nepoch {epoch}: {value:.4g}")
            for epoch, value in zip(results.histories[stage].epoch, row, strict=True)
            if math.isfinite(value)
        ]
        if dots:
            curves.append((shape, " ".join(f"{dot.x},{dot.y:.3f}" for dot in dots)))
            legend.append((f"line {shape}", name))
            marks += dots
    return Chart(title, chart.x, chart.y, tuple(marks), tuple(curves), tuple(legend))


def _told(results: Results, candidate: Candidate) -> str:
    lines = [
        f"candidate {candidate.index}, rank {candidate.rank}",
        f"score {signed(candidate.score)} ± {candidate.standard_error:.4f}",
        f"on {results.judged_on(candidate)}",
        f"{count(candidate.macs)} MACs, {count(candidate.params)} parameters",
    ]
    if math.isfinite(candidate.accuracy):
        lines.append(f"score accuracy {percent(candidate.accuracy)}")
    return "\n".join(filter(None, [*lines, after_tuning(results, candidate)]))


def after_tuning(results: Results, candidate: Candidate) -> str:
    """What came of a candidate on the test images, in words; empty where that was not measured."""
    value, trained = finetuned(results, candidate), results.metrics["finetune"].get("epochs")
    words = "after fine-tuning" if trained else "not fine-tuned"
    return "" if value is None else f"test {results.test_task.words} {percent(value)}, {words}"


def finetuned(results: Results, candidate: Candidate | None) -> float | None:
    """What decides, on the test images, after fine-tuning; None where that was not measured."""
    prefix = {results.uniform: "uniform_", results.winner: ""}.get(candidate) if candidate else None
    return None if prefix is None else results.metrics["finetune"].get(f"{prefix}test_{results.test_task.measure}")


def _left_out(results: Results, shown: Sequence[Candidate]) -> tuple[str, ...]:
    broken = sum(not math.isfinite(candidate.score) for candidate in results.candidates)
    behind = len(results.candidates) - broken - len(shown)
    notes = [f"{broken:,} candidates without a finite score are not drawn." if broken else ""]
    notes.append(f"The {len(shown):,} best are drawn; {behind:,} others are not." if behind else "")
    return tuple(filter(None, notes))
