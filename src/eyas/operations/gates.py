"""Promotion gates: pure rules on measured numbers; every one says its value, its limit and whether it held.

The candidate, the champion and the dense network have answered the same test images in the same run.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from eyas.data.comparability import Comparability

COMPARABLE = Comparability()
Share = Annotated[float, Field(ge=0, le=1)]


class PromoteParams(BaseModel):
    """What a candidate must hold to become champion; a limit of null is not asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True)

    min_accuracy: Share | None = None
    """Smallest test accuracy."""
    max_drop: Share | None = 0.05
    """Largest loss of test accuracy against the dense network."""
    max_latency: Annotated[float, Field(gt=0)] | None = None
    """Largest median latency in milliseconds, measured here with the settings of ``export``."""
    max_bytes: Annotated[int, Field(gt=0)] | None = None
    """Largest size of the ONNX file."""
    max_churn: Share | None = None
    """Largest share of test images answered otherwise than by the champion."""
    require_parity: bool = True
    """The exported file was compared with PyTorch, within the limits of ``export``."""
    min_gain: Annotated[float, Field(ge=-1, le=1)] = 0.0
    """Smallest gain of test accuracy over the champion. At 0 and above the candidate must be better: a gain of exactly
    0 does not hold. Negative allows so much loss."""
    standard_errors: Annotated[float, Field(ge=0)] = 1.0
    """The gain must reach ``min_gain`` and so many of its own standard errors on top."""


@dataclass(frozen=True)
class MeasuredNetwork:
    """What one network answered, and what it costs."""

    answers: NDArray[np.int64]
    """Top-1 class per test image, ``(N,)``."""
    labels: NDArray[np.int64]
    """True class per test image, ``(N,)``."""
    latency: float = math.nan
    """Median milliseconds per run."""
    bytes: int = 0
    """Size of the ONNX file."""

    @property
    def correct(self) -> NDArray[np.float64]:
        """1 where the answer is right, ``(N,)``."""
        return np.equal(self.answers, self.labels).astype(np.float64)

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float(self.correct.mean())


@dataclass(frozen=True)
class Gate:
    """One rule and how it went."""

    name: str
    value: float
    limit: float
    passed: bool
    reason: str


@dataclass(frozen=True)
class PromotionDecision:
    """All gates of one candidate, and what follows from them."""

    model: str
    candidate: str
    champion: str | None
    gates: tuple[Gate, ...]
    numbers: Mapping[str, float]
    forced: str = ""
    """The written reason of whoever overrode the gates."""
    dry_run: bool = False
    """Only judged: nothing was recorded, nothing moved."""

    @property
    def passed(self) -> bool:
        """Whether every gate held."""
        return all(gate.passed for gate in self.gates)

    @property
    def promoted(self) -> bool:
        """Whether the candidate becomes champion."""
        return self.passed or bool(self.forced)

    @property
    def outcome(self) -> str:
        """``promoted``, ``forced``, ``refused``; ``unchanged`` where the champion itself was asked for."""
        if not self.gates:
            return "unchanged"
        if self.passed:
            return "promoted"
        return "forced" if self.forced else "refused"

    @property
    def message(self) -> str:
        """One paragraph for a person: what was decided and which gates said no."""
        if self.outcome == "unchanged":
            return f"{self.model} version {self.candidate} is the champion already"
        against = f"champion {self.champion}" if self.champion else "no champion yet"
        verb = f"would be {self.outcome}" if self.dry_run else self.outcome
        head = f"{self.model} version {self.candidate} {verb} ({against})"
        reasons = [gate.reason for gate in self.gates if not gate.passed]
        tail = f"; overridden because: {self.forced}" if self.outcome == "forced" else ""
        return f"{head}: {'; '.join(reasons) or 'every gate held'}{tail}"

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain data, for a tag or a file."""
        return asdict(self) | {"outcome": self.outcome, "message": self.message}

    def markdown(self) -> str:
        """The gates as a table between the message and the numbers, for a pull request."""
        head = ["gate", "value", "limit", "passed", "reason"]
        rows = [
            [gate.name, f"{gate.value:.4g}", f"{gate.limit:.4g}", "yes" if gate.passed else "**no**", gate.reason]
            for gate in self.gates
        ]
        table = [head, ["---", "---:", "---:", "---", "---"], *rows] if rows else []
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in self.numbers.items())
        parts = ["### Promotion gates", _one_line(self.message), "\n".join(map(_table_row, table)), numbers]
        return "\n\n".join(part for part in parts if part) + "\n"


def gain(candidate: MeasuredNetwork, champion: MeasuredNetwork) -> tuple[float, float]:
    """Difference in accuracy on the same images, and its standard error (paired).

    Raises:
        ValueError: they answered different images.
    """
    if not np.array_equal(candidate.labels, champion.labels):
        msg = "candidate and champion answered different test images: evaluate both in one run"
        raise ValueError(msg)
    difference = candidate.correct - champion.correct
    spread = float(difference.std(ddof=1)) if len(difference) > 1 else math.inf
    return float(difference.mean()), spread / math.sqrt(len(difference))


def judge(
    params: PromoteParams,
    candidate: MeasuredNetwork,
    *,
    dense: MeasuredNetwork,
    champion: MeasuredNetwork | None,
    parity: bool,
    own: Comparability = COMPARABLE,
    both: Comparability = COMPARABLE,
) -> tuple[tuple[Gate, ...], dict[str, float]]:
    """Apply every gate that is asked for; returns them with all numbers they stand on.

    Args:
        params: the limits.
        candidate: what is judged.
        dense: what it was pruned from.
        champion: what it would replace, if there is one.
        parity: whether the exported file agrees with PyTorch.
        own: whether the candidate, and so the dense network, has seen none of the test images.
        both: whether neither the candidate nor the champion has.
    """
    numbers = {
        "images": float(len(candidate.labels)),
        "accuracy": candidate.accuracy,
        "latency": candidate.latency,
        "dense_latency": dense.latency,
        "bytes": float(candidate.bytes),
        "comparable": float(own.comparable),
    }
    if own.comparable:
        numbers["dense_accuracy"] = dense.accuracy
    gates = list(_own(params, candidate, dense, parity=parity, own=own))
    if champion is not None and not both.comparable:
        numbers["champion_latency"] = champion.latency
        gates.append(_not_compared("comparable_with_champion", "the champion", both, "replacing it takes force"))
    elif champion is not None:
        difference, error = gain(candidate, champion)
        numbers |= {"champion_accuracy": champion.accuracy, "champion_latency": champion.latency}
        numbers |= {"gain": difference, "gain_standard_error": error, "churn": churn(candidate, champion)}
        gates += _against(params, candidate, champion)
    return tuple(gates), numbers


def churn(candidate: MeasuredNetwork, other: MeasuredNetwork) -> float:
    """Share of images that two networks answer differently."""
    return float((candidate.answers != other.answers).mean())


def _own(
    params: PromoteParams, candidate: MeasuredNetwork, dense: MeasuredNetwork, *, parity: bool, own: Comparability
) -> Iterator[Gate]:
    """Gates that need no champion."""
    accuracy, drop = candidate.accuracy, dense.accuracy - candidate.accuracy
    if params.require_parity:
        words = "agrees" if parity else "was not shown to agree"
        yield Gate("parity", float(parity), 1.0, parity, f"the exported file {words} with PyTorch")
    if params.min_accuracy is not None:
        words = "test accuracy" if own.comparable else "test accuracy, on images that it may have seen,"
        yield _at_least("accuracy", accuracy, params.min_accuracy, words)
    if params.max_drop is not None and not own.comparable:
        way = "judge without it (promote.max_drop: null), or promote by force"
        yield _not_compared("comparable_with_dense", "the dense network", own, way)
    elif params.max_drop is not None:
        yield _at_most("drop", drop, params.max_drop, "loss of accuracy against the dense network")
    if params.max_latency is not None:
        yield _at_most("latency", candidate.latency, params.max_latency, "median latency in ms")
    if params.max_bytes is not None:
        yield _at_most("bytes", candidate.bytes, params.max_bytes, "bytes of the file")


def _against(params: PromoteParams, candidate: MeasuredNetwork, champion: MeasuredNetwork) -> Iterator[Gate]:
    """Gates against the champion."""
    if params.max_churn is not None:
        yield _at_most("churn", churn(candidate, champion), params.max_churn, "share of changed answers")
    difference, error = gain(candidate, champion)
    limit = params.min_gain + params.standard_errors * error
    better = params.min_gain < 0 or not _not_above(difference, 0.0)
    reason = (
        f"gain over the champion {difference:+.4f} with standard error {error:.4f}: needs at least {limit:+.4f} "
        f"({params.min_gain:+g} and {params.standard_errors:g} standard errors)"
        + ("" if better else ", and more than 0")
    )
    yield Gate("gain", difference, limit, better and _not_above(limit, difference), reason)


def _not_compared(name: str, other: str, why: Comparability, way: str) -> Gate:
    """A comparison that would not be true is not made, and does not hold."""
    return Gate(name, 0.0, 1.0, False, f"its accuracy is not compared with that of {other}: {why.reason}; {way}")


def _at_least(name: str, value: float, limit: float, words: str) -> Gate:
    return Gate(
        name, float(value), float(limit), _not_above(limit, value), f"{words} {value:.4g}: needs at least {limit:g}"
    )


def _at_most(name: str, value: float, limit: float, words: str) -> Gate:
    return Gate(
        name, float(value), float(limit), _not_above(value, limit), f"{words} {value:.4g}: allowed at most {limit:g}"
    )


def _not_above(low: float, high: float) -> bool:
    """Whether ``low <= high``, where the last bits of a difference of shares do not count."""
    return low <= high or math.isclose(low, high, abs_tol=1e-9)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _table_row(cells: Iterable[str]) -> str:
    escaped = (_one_line(cell).replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
