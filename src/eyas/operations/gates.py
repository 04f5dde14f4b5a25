"""Promotion gates: pure rules on measured numbers; every one says its value, its limit and whether it held.

The candidate, the champion and the dense network have answered the same test images in the same run.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from eyas.data.comparability import Comparability
from eyas.operations import beaten_checkpoint
from eyas.operations.champion_gates import gain_at_worst, gates_against
from eyas.operations.gate import Gate, at_least, at_most, percent, points
from eyas.operations.measured_network import MeasuredNetwork, churn, compare_answers
from eyas.operations.promote_params import PromoteParams

COMPARABLE = Comparability()
_WITHOUT_DENSE = "judge without it (promote.max_drop: null), or promote by force"


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
    limits: tuple[str, ...] = ()
    """``promote.field=value``: limits of this call that are not the profile's."""
    judged_on: str = ""
    """Whose test images decided, where that is another profile than the one that was asked."""
    verdict: str = ""
    """What the version's run was worth, in a word: see :attr:`eyas.operations.verdict.Verdict.accuracy`."""

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
        limits = f", with {', '.join(self.limits)} for this call" if self.limits else ""
        head = f"{self.model} version {self.candidate} {verb} ({against}){limits}"
        reasons = [gate.reason for gate in self.gates if not gate.passed]
        head += f", judged on the test images of {self.judged_on}" if self.judged_on else ""
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
        seen = {"accuracy": Comparability(bool(self.numbers.get("comparable", True))).note}
        numbers = ", ".join(f"{name} {value:.4g}{seen.get(name, '')}" for name, value in self.numbers.items())
        parts = ["### Promotion gates", _one_line(self.message), "\n".join(map(_table_row, table)), numbers]
        return "\n\n".join(part for part in parts if part) + "\n"


def judge(
    params: PromoteParams,
    candidate: MeasuredNetwork,
    *,
    dense: MeasuredNetwork,
    champion: MeasuredNetwork | None,
    parity: bool,
    own: Comparability = COMPARABLE,
    both: Comparability = COMPARABLE,
    taken_as_is: bool = False,
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
        taken_as_is: whether the dense network is a checkpoint that was not trained on this data here.
    """
    numbers = {
        "images": float(len(candidate.labels)),
        candidate.task.measure: candidate.value,
        "latency": candidate.latency,
        "dense_latency": dense.latency,
        "bytes": float(candidate.bytes),
        **({"macs": candidate.macs} if math.isfinite(candidate.macs) else {}),
        "comparable": float(own.comparable),
    }
    if own.comparable and dense.labelled:
        numbers[f"dense_{dense.task.measure}"] = dense.value
    gates = list(_own(params, candidate, dense, parity=parity, own=own, taken_as_is=taken_as_is))
    if champion is not None and not both.comparable:
        numbers["champion_latency"] = champion.latency
        gates.append(_not_compared("comparable_with_champion", "the champion", both, "replacing it takes force"))
    elif champion is not None:
        counts = compare_answers(candidate, champion)
        numbers |= {f"champion_{champion.task.measure}": champion.value, "champion_latency": champion.latency}
        numbers |= {"gain": counts.difference, "gain_low": gain_at_worst(params, counts)}
        numbers |= {name: float(value) for name, value in counts.metrics().items()}
        numbers |= {"churn": churn(candidate, champion)}
        shares = candidate.sizes_against(champion).items()
        numbers |= {f"{name.lower()}_of_champion": share for name, share in shares}
        gates += gates_against(params, candidate, champion)
    return tuple(gates), numbers


def _own(
    params: PromoteParams,
    candidate: MeasuredNetwork,
    dense: MeasuredNetwork,
    *,
    parity: bool,
    own: Comparability,
    taken_as_is: bool,
) -> Iterator[Gate]:
    """Gates that need no champion."""
    accuracy, drop, measure = candidate.value, dense.value - candidate.value, candidate.task.words
    if params.require_parity:
        words = "agrees" if parity else "was not shown to agree"
        yield Gate("parity", float(parity), 1.0, parity, f"the exported file {words} with PyTorch")
    if not candidate.labelled:
        yield from _agreement(params, candidate, own)
    elif params.min_accuracy is not None:
        words = f"test {measure}" + ("" if own.comparable else ", on images that it may have seen,")
        yield at_least("accuracy", accuracy, params.min_accuracy, words, field="min_accuracy", shown=percent)
    if params.max_drop is not None and candidate.labelled and not own.comparable:
        yield _not_compared("comparable_with_dense", "the dense network", own, _WITHOUT_DENSE)
    elif params.max_drop is not None and candidate.labelled:
        words = f"loss of {measure} against the dense network"
        yield at_most("drop", drop, params.max_drop, words, field="max_drop", shown=points)
        if taken_as_is and beaten_checkpoint.is_beaten(counts := compare_answers(candidate, dense)):
            reason = f"{beaten_checkpoint.WORDS} ({counts.words}): {beaten_checkpoint.ADVICE}; {_WITHOUT_DENSE}"
            yield Gate("sound_dense", counts.interval()[0], beaten_checkpoint.RARE_GAIN, False, reason)
    if params.max_latency is not None:
        words, limit = "median latency", params.max_latency
        yield at_most("latency", candidate.latency, limit, words, field="max_latency", shown="{:.4g} ms".format)
    if params.max_bytes is not None:
        words, limit = "size of the file", params.max_bytes
        yield at_most("bytes", candidate.bytes, limit, words, field="max_bytes", shown="{:,} bytes".format)


def _agreement(params: PromoteParams, candidate: MeasuredNetwork, own: Comparability) -> Iterator[Gate]:
    """What the answers are held to where no test image has a label."""
    if params.min_accuracy is not None:
        way = "give a test set with labels (fetch.test), or leave promote.min_accuracy out"
        yield Gate("accuracy", math.nan, params.min_accuracy, False, f"its accuracy is not known without labels: {way}")
    if params.min_agreement is not None and not own.comparable:
        yield _not_compared("comparable_with_dense", "the dense network", own, _WITHOUT_DENSE)
    elif params.min_agreement is not None:
        words = "agreement with the dense network"
        yield at_least("agreement", candidate.value, params.min_agreement, words, field="min_agreement", shown=percent)


def _not_compared(name: str, other: str, why: Comparability, way: str) -> Gate:
    """A comparison that would not be true is not made, and does not hold."""
    return Gate(name, 0.0, 1.0, False, f"its accuracy is not compared with that of {other}: {why.reason}; {way}")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _table_row(cells: Iterable[str]) -> str:
    escaped = (_one_line(cell).replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
