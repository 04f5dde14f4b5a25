"""The result in one table: dense against pruned, as Markdown and for the terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from eyas.operations.report.latency_words import speed_cells, threads
from eyas.operations.report.measured_facts import verdict_on
from eyas.operations.report.results import Results
from eyas.operations.verdict import Verdict, points

if TYPE_CHECKING:
    from rich.table import Table

HEADER = ("", "dense", "pruned", "change")
NOT_COMPARABLE = "not comparable"
BEFORE, MACS, PARAMS, SCORE = "before fine-tuning", "MACs per image", "parameters", "AdaBN score of the winner"
"""Names of rows."""
HEADLINES = (MACS, PARAMS, "file size", "latency")
"""What the names of the rows begin with that a reader looks for first, beside what decides."""
INTERVAL, SLOWEST = "95 % interval, paired", "its 95th percentile"
TOLD_BESIDE = (INTERVAL, SLOWEST, SCORE)
"""What the names of the rows begin with that a terminal can do without: verdict, report and score's line have them."""
_BOTH = ("dense", "model")
_NAMED = 3
"""Residual blocks that are named; of more the number is told."""


@dataclass(frozen=True)
class ResultRow:
    """One line of the table, ready to print."""

    name: str
    dense: str
    pruned: str
    change: str


def result_rows(results: Results) -> list[ResultRow]:
    """Accuracy, cost, size, latency and score of dense and pruned network."""
    winner, cost, size = results.winner, results.dense_cost, results.files
    return [
        *_accuracies(results),
        _count(MACS, cost["macs"], winner.macs),
        _count(PARAMS, cost["params"], winner.params),
        *_blocks(results),
        *_zeros(results),
        _size(size["dense.onnx"]["bytes"], size["model.onnx"]["bytes"]),
        *_packed(results),
        *_latency(results),
        *_limits(results),
        *recommended_row(results),
        ResultRow(score_name(results), "", signed(winner.score), _rank(results)),
    ]


def score_name(results: Results) -> str:
    """Name of the score's row."""
    return f"{SCORE}, x reward" if results.reward else SCORE


def _blocks(results: Results) -> list[ResultRow]:
    """Which residual blocks the winner leaves out, where depth was searched."""
    if not results.blocks:
        return []
    first, left = results.left_out[:_NAMED], len(results.left_out)
    names = ", ".join(first) + (f" and {left - _NAMED} more" if left > _NAMED else "")
    return [ResultRow("residual blocks left out", "", names or "none", f"{left} of {len(results.blocks)}")]


def _zeros(results: Results) -> list[ResultRow]:
    """What is left beside the zeros of a sparsity pattern, and that no time is saved; nothing without one."""
    finetune = results.metrics["finetune"]
    if "nonzero_weights" not in finetune:
        return []
    left = finetune["nonzero_weights"] / finetune["layer_weights"]
    return [
        ResultRow("non-zero weights", "", count(finetune["nonzero_weights"]), f"{100 * left:.1f} % of its weights"),
        ResultRow("MACs with them", "", count(finetune["nonzero_macs"]), "no faster in ONNX Runtime"),
    ]


def _packed(results: Results) -> list[ResultRow]:
    """The size that a download has, where there are many zeros."""
    dense, pruned = (results.metrics["export"].get(f"{name}_gzip_bytes", 0) for name in _BOTH)
    return [_size(dense, pruned, "the same, gzipped")] if dense and pruned else []


def recommended_row(results: Results) -> list[ResultRow]:
    """The file that the device should get, where there is a choice."""
    chosen = results.latency.get("recommended", {})
    if not chosen.get("others"):
        return []
    return [ResultRow("recommended file", "", chosen["name"], chosen["reason"].partition(",")[0])]


def remark(results: Results) -> str:
    """What must be said beside the table: why accuracies are not comparable; empty where they are."""
    reason = results.comparability.reason
    return f"Accuracies of dense and pruned network are {NOT_COMPARABLE}: {reason}." if reason else ""


def markdown_table(rows: Sequence[ResultRow]) -> str:
    """The table as Markdown."""
    lines = [HEADER, ("---", "---:", "---:", "---:"), *((row.name, row.dense, row.pruned, row.change) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def console_table(rows: Sequence[ResultRow], title: str = "", *, short: bool = False) -> "Table":
    """The table for a ``rich`` console.

    Args:
        rows: its lines.
        title: what stands in its corner.
        short: leave out what a terminal shows beside it, in the lines of the steps and the verdict, and the rule.
    """
    from rich import box
    from rich.table import Table

    table = Table(box=None if short else box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column(title or HEADER[0])
    for name in HEADER[1:]:
        table.add_column(name, justify="right")
    for row in rows:
        if not (short and row.name.startswith(TOLD_BESIDE)):
            table.add_row(row.name, row.dense, row.pruned, row.change)
    return table


def percent(share: float) -> str:
    """A share with two decimals: ``97.22 %``."""
    return f"{100 * share:.2f} %"


def count(value: float) -> str:
    """A count with three digits and its unit: ``12.5 M``."""
    rounded = float(f"{value:.3g}")
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if rounded >= size:
            return f"{rounded / size:.3g} {unit}"
    return f"{rounded:g}"


def signed(value: float) -> str:
    """A score with four decimals and a true minus sign."""
    return _minus(f"{value:.4f}")


def small(value: float) -> str:
    """A small number with two digits: ``4.8e−06``."""
    return _minus(f"{value:.2g}")


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _accuracies(results: Results) -> list[ResultRow]:
    """What decides and its interval; of pixels, the accuracy as well; agreement where there are no labels."""
    task, verdict = results.test_task, verdict_on(results)
    if not task.labelled:
        return [*_agreement(results.metrics["finetune"], verdict), *_untrained(results)]
    rows = [_accuracy(results, task.measure, f"test {task.words}"), *_interval(verdict), *_untrained(results)]
    return rows if task.measure == "accuracy" else [*rows, _accuracy(results, "accuracy", "test pixel accuracy")]


def _agreement(finetune: Mapping[str, float], verdict: Verdict) -> list[ResultRow]:
    """How often the pruned network answers as the dense one, which has nothing to be compared with."""
    rows = [ResultRow("test agreement", "", percent(finetune["test_agreement"]), "")]
    if verdict.test is not None:
        low, high = (100 * (1 + end) for end in verdict.test.interval())
        rows.append(ResultRow("its 95 % interval", "", f"{low:.2f} to {min(high, 100):.2f} %", ""))
    return rows


def _untrained(results: Results) -> list[ResultRow]:
    """The same before fine-tuning, refitted and recalibrated; nothing where nothing was trained."""
    task, finetune = results.test_task, results.metrics["finetune"]
    before = f"recalibrated_test_{task.measure}"
    if before not in finetune or not finetune.get("epochs"):
        return []
    if not task.labelled:
        return [ResultRow(BEFORE, "", percent(finetune[before]), "")]
    row = _accuracy(results, task.measure, BEFORE, pruned=finetune[before])
    return [replace(row, dense="")]


def _accuracy(results: Results, measure: str, name: str, pruned: float | None = None) -> ResultRow:
    dense, trained = (results.metrics[stage][f"test_{measure}"] for stage in ("baseline", "finetune"))
    pruned = trained if pruned is None else pruned
    change = f"{points(pruned - dense)} points" if results.comparability.comparable else NOT_COMPARABLE
    return ResultRow(name, percent(dense), percent(pruned), change)


def _interval(verdict: Verdict) -> list[ResultRow]:
    """Where the true change lies; nothing where it was not measured or does not compare."""
    if verdict.test is None:
        return []
    low, high = (points(end) for end in verdict.test.interval())
    return [ResultRow(INTERVAL, "", "", f"{low} to {high} points")]


def _count(name: str, dense: float, pruned: float) -> ResultRow:
    return ResultRow(name, count(dense), count(pruned), _minus(f"{100 * (pruned / dense - 1):+.1f} %"))


def _size(dense: float, pruned: float, name: str = "file size (ONNX, float32)") -> ResultRow:
    row = _count(name, dense, pruned)
    return ResultRow(row.name, f"{count(dense)}B", f"{count(pruned)}B", row.change)


def _latency(results: Results) -> list[ResultRow]:
    """The median and the 95th percentile; the change is how many times faster."""
    measured, setting = results.latency["milliseconds"], results.latency
    names = {
        "median": f"latency (batch {setting['batch']}, {threads(setting)})",
        "p95": SLOWEST,
    }
    changes = speed_cells(setting)
    return [
        ResultRow(name, f"{measured['dense'][key]:.3g} ms", f"{measured['model'][key]:.3g} ms", changes[key])
        for key, name in names.items()
    ]


def _limits(results: Results) -> list[ResultRow]:
    """The limits of a budget of several, or of milliseconds or bytes of the file; the measured time last."""
    sampled, scored = results.metrics["sample"], results.metrics["score"]
    rows = []
    for metric in (name.removeprefix("budget_") for name in sampled if name.startswith("budget_")):
        said = ", which binds" if results.diagnostics.get("binding") == metric else ""
        allowed = f"of {count(sampled[f'budget_{metric}'])}{said}"
        ends = (count(sampled[f"dense_{metric}"]), count(scored[f"winner_{metric}"]))
        rows.append(ResultRow(f"limit: {metric}", *ends, allowed))
    budget = results.latency_budget
    if budget is not None and budget["measured_ms"] is not None:
        ends = f"{budget['dense_ms']:.3g} ms", f"{budget['measured_ms']:.3g} ms"
        missed = budget["measured_ms"] / budget["limit_ms"] - 1
        allowed = _minus(f"{100 * missed:+.1f} % of {budget['limit_ms']:.3g} ms")
        rows.append(ResultRow("its time, end to end", *ends, allowed))
    return rows


def _rank(results: Results) -> str:
    # Ranks may start at 0 or 1; people count from 1.
    first = min(candidate.rank for candidate in results.candidates)
    return f"rank {results.winner.rank - first + 1} of {len(results.candidates)}"
