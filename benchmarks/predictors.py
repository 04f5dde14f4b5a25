r"""How well each predictor tells the accuracy after fine-tuning, from what ``benchmarks.prediction`` measured.

    python -m benchmarks.predictors

writes a table per network and floor on widths, a column per budget. The surrogate is fitted on a random part of the
candidates, many times, and judged on the others; every other predictor on all candidates.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import publish, read_rows, table
from benchmarks.prediction import ROWS, SET, TRUTH
from benchmarks.scoring import bootstrapped
from eyas.scoring.diagnostics import kendall_tau
from eyas.scoring.surrogate import fit_surrogate

Floats = NDArray[np.float64]
CROSS_ENTROPY, TOP1, PROBE = "fused:512.cross_entropy", "fused:512.top1", "fused:512.dense_probe"
LOG_WIDTHS, REFITTED, RESIDUALS = "priors.log_widths", "refitted:512.cross_entropy", "refitted:512.layers_after"
DAMAGE = "refitted:512.layers_before"
PREDICTORS: dict[str, dict[str, float]] = {
    "published: moving average, top-1 on 10,000": {"published.top1": 1},
    "cross-entropy, 256 images": {"fused:256.cross_entropy": 1},
    "cross-entropy, 512 images": {CROSS_ENTROPY: 1},
    "cross-entropy, 1,024 images": {"fused:1024.cross_entropy": 1},
    "top-1, 512 images": {TOP1: 1},
    "top-1, 1,024 images": {"fused:1024.top1": 1},
    "`dense_probe`, 256 images": {"fused:256.dense_probe": 1},
    "`dense_probe`, 512 images": {PROBE: 1},
    "`dense_probe`, 1,024 images": {"fused:1024.dense_probe": 1},
    "`dense_kl`, 512 images": {"fused:512.dense_kl": 1},
    "prior `log_widths`": {LOG_WIDTHS: 1},
    "prior `narrowest_layer`": {"priors.narrowest_layer": 1},
    "prior `spectral_capacity` (NSC)": {"priors.spectral_capacity": 1},
    "parameters": {"size": 1},
    "cross-entropy and `log_widths`": {CROSS_ENTROPY: 1, LOG_WIDTHS: 1},
    "`dense_probe` and `log_widths`": {PROBE: 1, LOG_WIDTHS: 1},
    "`dense_probe` and `spectral_capacity`": {PROBE: 1, "priors.spectral_capacity": 1},
    "residuals of the refitted layers": {RESIDUALS: 1},
    "errors of the layers before their refit": {DAMAGE: 1},
    "`dense_probe` and residuals of the refitted layers": {PROBE: 1, RESIDUALS: 1},
    "`dense_probe` and errors of the layers before their refit": {PROBE: 1, DAMAGE: 1},
    "distance of the refitted answers": {"refitted:512.answers_after": 1},
    "refitted: cross-entropy, 512 images": {REFITTED: 1},
    "refitted: top-1, 512 images": {"refitted:512.top1": 1},
    "refitted: `dense_probe`, 512 images": {"refitted:512.dense_probe": 1},
    "refitted: `dense_kl`, 512 images": {"refitted:512.dense_kl": 1},
    "refitted: cross-entropy and `log_widths`": {REFITTED: 1, LOG_WIDTHS: 1},
    "10 steps, cross-entropy": {"trained:10.cross_entropy": 1},
    "10 steps, top-1": {"trained:10.top1": 1},
    "40 steps, cross-entropy": {"trained:40.cross_entropy": 1},
    "refitted, 10 steps, cross-entropy": {"refitted_trained:10.cross_entropy": 1},
}
"""By name the columns that are added, each in units of its standard deviation over the candidates."""
FEATURES = (CROSS_ENTROPY, PROBE, LOG_WIDTHS, REFITTED, RESIDUALS)
"""What the surrogate sees, beside the logarithm of every group's width."""
OUTCOMES = {"refitted_tuned": "refitted and fine-tuned, as the pipeline does", "tuned": "fine-tuned without a refit"}
"""What is predicted, by the measure that knows it."""
FITTED, DRAWS = 12, 50
"""Candidates whose outcome the surrogate knows, and how often they are drawn."""


@dataclass(frozen=True)
class Candidates:
    """The measured candidates of one set, a value per column and candidate."""

    columns: dict[str, Floats]
    widths: NDArray[np.int64]
    outcome: str
    """One of OUTCOMES."""

    @classmethod
    def of(cls, rows: list[dict[str, Any]], outcome: str) -> "Candidates":
        """Those whose outcome is known, in order; NaN where a column was not measured."""
        numbers = sorted({row["candidate"] for row in rows if row["measure"] == f"{outcome}:1"})
        place = {number: index for index, number in enumerate(numbers)}
        columns: dict[str, Floats] = {}
        widths: dict[int, list[int]] = {}
        for row in rows:
            if row["candidate"] in place:
                at = place[row["candidate"]]
                widths[at] = row["widths"]
                numeric = {name: value for name, value in row.items() if isinstance(value, float | int)}
                for name, value in (numeric | {"size": row["params"]}).items():
                    key = "size" if name == "size" else f"{row['measure']}.{name}"
                    columns.setdefault(key, np.full(len(numbers), np.nan))[at] = value
        return cls(columns, np.array([widths[at] for at in range(len(numbers))]), outcome)

    @property
    def first(self) -> Floats:
        """Accuracy after one fine-tuning."""
        return self.columns[f"{self.outcome}:1.accuracy"]

    @property
    def second(self) -> Floats | None:
        """Accuracy after another, in another order; None where not all were tuned twice."""
        second = self.columns.get(f"{self.outcome}:2.accuracy")
        return None if second is None or np.isnan(second).any() else second

    @property
    def truth(self) -> Floats:
        """Accuracy after fine-tuning; the mean of two where all were tuned twice."""
        return self.first if self.second is None else (self.first + self.second) / 2

    def combined(self, weights: Mapping[str, float]) -> Floats | None:
        """A weighted sum of standardised columns; None where one was not measured for all."""
        if any(name not in self.columns or np.isnan(self.columns[name]).any() for name in weights):
            return None
        return sum((w * _standard(self.columns[name]) for name, w in weights.items()), start=np.zeros(len(self.widths)))

    def seconds(self, weights: Mapping[str, float]) -> float:
        """Median CPU seconds per candidate of what the columns need, shared work once."""
        spent: dict[str, float] = {}
        for name in weights:
            measure, _, column = name.partition(".")
            own = {"top1": "cross_entropy"}.get(column, column)
            whole = f"{measure}.cross_entropy_seconds" not in self.columns or "trained" in measure
            names = ["seconds"] if whole else [f"{own}_seconds", "refit_seconds"]
            for part in (f"{measure}.{name}" for name in names):
                if part in self.columns:
                    spent[part] = float(np.nanmedian(self.columns[part]))
        return sum(spent.values())


def _standard(values: Floats) -> Floats:
    return (values - values.mean()) / (values.std() or 1)


def partial_tau(scores: Floats, truth: Floats, size: Floats) -> float:
    """Kendall's partial tau: what scores tell beyond the size (Kendall 1942)."""
    both, one, other = kendall_tau(scores, truth), kendall_tau(scores, size), kendall_tau(truth, size)
    return (both - one * other) / max(np.sqrt((1 - one**2) * (1 - other**2)), 1e-9)


def surrogate_taus(candidates: Candidates, verdicts: Floats) -> tuple[float, float, float] | None:
    """Mean tau on the candidates it was not told of, mean leave-one-out tau, and mean regret, over the draws."""
    if any(candidates.combined({name: 1}) is None for name in FEATURES) or len(verdicts) < 2 * FITTED:
        return None
    features = np.column_stack([*(candidates.columns[name] for name in FEATURES), np.log(candidates.widths)])
    rng, truth, results = np.random.default_rng(0), candidates.truth, []
    for _ in range(DRAWS):
        told = np.isin(np.arange(len(truth)), rng.permutation(len(truth))[:FITTED])
        fitted = fit_surrogate(features, candidates.columns[CROSS_ENTROPY], np.where(told, verdicts, np.nan))
        best = truth.max() - truth[fitted.predictions.argmax()]
        results.append((kendall_tau(fitted.predictions[~told], truth[~told]), fitted.leave_one_out_tau, best))
    tau, left_out, regret = np.nanmean(results, axis=0)
    return float(tau), float(left_out), float(regret)


def lines_of(candidates: Candidates) -> list[tuple[object, ...]]:
    """A line per predictor: name, CPU seconds, tau with its interval, beyond the size, regret of its best."""
    truth, size, lines = candidates.truth, candidates.columns["size"], []
    for name, weights in PREDICTORS.items():
        scores = candidates.combined(weights)
        if scores is not None:
            tau = bootstrapped(_tau_of(scores, truth), len(truth))
            picked = f"{100 * (truth[scores.argmax()] - truth[0]):+.1f}"
            regret = f"{100 * (truth.max() - truth[scores.argmax()]):.1f}"
            beyond = f"{partial_tau(scores, truth, size):.2f}"
            lines.append((name, f"{candidates.seconds(weights):.2f}", tau, beyond, regret, picked))
    if candidates.second is not None:
        ceiling = bootstrapped(_tau_of(candidates.second, candidates.first), len(truth))
        lines.append(("a second fine-tuning, of the first", "", ceiling, "", "", ""))
    sources = {"their outcomes": f"{candidates.outcome}:1.accuracy", "10 steps": "trained:10.cross_entropy"}
    for words, column in sources.items():
        if column in candidates.columns and not np.isnan(candidates.columns[column]).any():
            taus = surrogate_taus(candidates, candidates.columns[column])
            if taus is not None:
                name = f"surrogate of {FITTED} ({words}), leave-one-out tau {taus[1]:.2f}"
                lines.append((name, "", f"{taus[0]:.2f}", "", f"{100 * taus[2]:.1f}", ""))
    return lines


def _tau_of(scores: Floats, truth: Floats) -> Callable[[NDArray[np.int64]], float]:
    return lambda drawn: kendall_tau(scores[drawn], truth[drawn])


def section(key: tuple[Any, ...], candidates: Candidates, words: str) -> list[str]:
    """Lines about one set of candidates and one outcome."""
    model, dense, share, floor, criterion, draw = key
    truth = 100 * candidates.truth
    header = ("predictor", "CPU s", "tau", "beyond parameters", "regret", "its best above uniform")
    return [
        f"## {model} ({dense}), {share:.1%} of the MACs, floor {floor:g}, {criterion}, draw {draw}: {words}",
        "",
        f"{len(truth)} candidates; accuracy after fine-tuning {truth.min():.1f} to {truth.max():.1f}, mean "
        f"{truth.mean():.1f}, standard deviation {truth.std():.1f}, uniform widths {truth[0]:.1f}.",
        "",
        table(header, lines_of(candidates)),
        "",
    ]


def main() -> None:
    """The table of what is there."""
    rows = read_rows(ROWS)
    body = []
    for key in sorted({tuple(row[name] for name in SET) for row in rows}, key=str):
        same = [row for row in rows if tuple(row[name] for name in SET) == key]
        for outcome, words in OUTCOMES.items():
            candidates = Candidates.of(same, outcome)
            if len(candidates.widths) > 1:
                body += section(key, candidates, words)
    notes = [
        f"outcome: accuracy on all 10,000 test images after recalibration and {TRUTH} (SGD with Nesterov momentum, "
        "weight decay 1e-4, cosine to 0, bfloat16)",
        "tau: Kendall's, with a 95 % bootstrap interval over candidates; beyond parameters: partial tau, at equal "
        "numbers of parameters; regret: points of accuracy lost by taking the predictor's best; last column: points "
        "that its best is above uniform widths",
        "combined columns are added in units of their standard deviation over the candidates",
        f"surrogate: fitted to {FITTED} random candidates, judged on the others, mean of {DRAWS} draws",
        "CPU s: median CPU seconds per candidate of one thread, on a machine with other load",
    ]
    publish("prediction", "What predicts the accuracy after fine-tuning", notes, "\n".join(body))


if __name__ == "__main__":
    main()
