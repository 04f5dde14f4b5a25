"""Accuracy on the test images against MACs, and against measured time: only networks of which both are known."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from eyas.deploy.artifact_gate import DENSE_AGREEMENT
from eyas.operations.report.charts import Chart, Ends, finetuned
from eyas.operations.report.latency_words import threads
from eyas.operations.report.measured_facts import verdict_on
from eyas.operations.report.pictures import unit
from eyas.operations.report.result_table import count, percent
from eyas.operations.report.results import Results
from eyas.operations.report.svg_axes import axis_over

_PER_CENT = 100.0
Place = tuple[float, float, float]
"""On the level axis: from, the value itself, to."""


@dataclass(frozen=True)
class _Network:
    shape: str
    name: str
    accuracy: float
    macs: float
    milliseconds: dict[str, float] | None = None
    interval: Ends | None = None
    """Of the accuracy, paired with the dense network's."""


def trade_offs(results: Results) -> tuple[Chart, Chart]:
    """Against MACs, and against time."""
    networks = list(_networks(results))
    divisor, word = unit(max((network.macs for network in networks), default=0.0))
    timed = [network for network in networks if network.milliseconds]
    latency = results.latency
    setting = f"median ms per run (batch {latency['batch']}, {threads(latency)})"
    costs = {one.name: (one.macs / divisor, one.macs / divisor, one.macs / divisor) for one in networks}
    times = {one.name: _quartiles(one.milliseconds or {}) for one in timed}
    against_time = replace(_chart(results, setting, timed, times), notes=_untimed(networks, results))
    return _chart(results, f"MACs per image ({word})", networks, costs), against_time


def _networks(results: Results) -> Iterator[_Network]:
    """Further files of the pruned network, uniform widths, dense and pruned: the last lie on top."""
    measure, times, winner = f"test_{results.test_task.measure}", results.latency["milliseconds"], results.winner
    dense, pruned = (results.metrics[stage].get(measure) for stage in ("baseline", "finetune"))
    test, kept = verdict_on(results).test, results.test_task.measure if results.test_task.labelled else DENSE_AGREEMENT
    for name, facts in checked_files(results).items():
        if name not in ("dense", "model") and kept in facts:
            yield _Network("format", name, facts[kept], winner.macs, times.get(name))
    uniform = finetuned(results, results.uniform) if results.uniform != winner else None
    if results.uniform and uniform is not None:
        yield _Network("uniform", "uniform widths", uniform, results.uniform.macs)
    if dense is not None and results.comparability.comparable:
        yield _Network("dense", "dense", dense, results.dense_cost["macs"], times.get("dense"))
    interval = None if test is None or dense is None else (dense + test.interval()[0], dense + test.interval()[1])
    if pruned is not None:
        yield _Network("pruned", "pruned", pruned, winner.macs, times.get("model"), interval)


def checked_files(results: Results) -> dict[str, dict[str, Any]]:
    """What was measured of each exported file, by the name that its time has; in each precision that it may run in."""
    files: dict[str, dict[str, Any]] = {}
    for name, facts in results.checked.items():
        files |= {name: facts} | {f"{name} ({word})": other for word, other in facts.get("alternatives", {}).items()}
    return files


def _quartiles(times: dict[str, float]) -> Place:
    """First quartile, median, third."""
    return times.get("q25", times["median"]), times["median"], times.get("q75", times["median"])


def _chart(results: Results, title: str, networks: list[_Network], places: dict[str, Place]) -> Chart:
    heights = [_PER_CENT * value for one in networks for value in (one.accuracy, *(one.interval or ()))]
    x = axis_over([0.0, *(value for place in places.values() for value in place)], title)
    x = replace(x, ticks=tuple(tick for tick in x.ticks if tick[0] >= x.place(0)))
    empty = Chart("", x, axis_over(heights, f"test {results.test_task.words} (%)", most=_PER_CENT))
    marks, legend = [], []
    for one in networks:
        low, middle, high = places[one.name]
        text = f"{one.name}: {percent(one.accuracy)}, " + (
            f"{count(one.macs)} MACs" if low == high == middle and "MACs" in title else f"{middle:.3g} ms"
        )
        interval = None if one.interval is None else (_PER_CENT * one.interval[0], _PER_CENT * one.interval[1])
        bar = (low, high) if high > low else None
        marks.append(empty.mark(one.shape, (middle, _PER_CENT * one.accuracy), text, x_bar=bar, y_bar=interval))
        legend.append((one.shape, text))
    return replace(empty, marks=tuple(marks), legend=tuple(legend[::-1]))


def _untimed(networks: list[_Network], results: Results) -> tuple[str, ...]:
    missing = [one.name for one in networks if not one.milliseconds]
    notes = [f"Not timed, because not exported: {', '.join(missing)}."] if missing else []
    notes += [f"{name} was not measured: {reason}." for name, reason in results.latency.get("not_measured", {}).items()]
    return tuple(notes)
