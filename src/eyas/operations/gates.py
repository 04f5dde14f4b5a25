"""Promotion gates: pure rules on measured numbers; every one says its value, its limit and whether it held.

The candidate, the champion and the dense network have answered the same test images in the same run.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from eyas.data.comparability import Comparability
from eyas.operations.adapted_decision import clean_words, held_words, is_adapted
from eyas.operations.candidate_gates import CandidateFacts, candidate_gates
from eyas.operations.champion_gates import gain_at_worst, gates_against
from eyas.operations.gate import Gate, not_compared
from eyas.operations.measured_network import MeasuredNetwork, churn, compare_answers
from eyas.operations.promote_params import PromoteParams

COMPARABLE = Comparability()


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
    field_gain: str = ""
    """Of an adapted version: what is known of its gain in the field, in words."""

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
        """One paragraph for a person: what was decided, which gates said no, and what an adapted version costs."""
        return "; ".join(filter(None, (self.summary, self.beside if self.promoted else "")))

    @property
    def beside(self) -> str:
        """Of an adapted version: what it loses on images as in training, what it gains, how to go back; else empty."""
        if not is_adapted(self.gates):
            return ""
        back = f"`eyas rollback` goes back to version {self.champion}" if self.promoted and self.champion else ""
        return "; ".join(filter(None, (clean_words(self.numbers), self.field_gain, back)))

    @property
    def summary(self) -> str:
        """What was decided and which gates said no."""
        if self.outcome == "unchanged":
            return f"{self.model} version {self.candidate} is the champion already"
        against = f"champion {self.champion}" if self.champion else "no champion yet"
        verb = f"would be {self.outcome}" if self.dry_run else self.outcome
        limits = f", with {', '.join(self.limits)} for this call" if self.limits else ""
        head = f"{self.model} version {self.candidate} {verb} ({against}){limits}"
        reasons = [gate.reason for gate in self.gates if not gate.passed]
        head += f", judged on the test images of {self.judged_on}" if self.judged_on else ""
        tail = f"; overridden because: {self.forced}" if self.outcome == "forced" else ""
        return f"{head}: {'; '.join(reasons) or held_words(self.gates)}{tail}"

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain data, for a tag or a file."""
        return asdict(self) | {"outcome": self.outcome, "message": self.message, "beside": self.beside}

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
    compared = own.comparable and candidate.labelled
    facts = CandidateFacts(
        value=candidate.value,
        dense_value=dense.value,
        measure=candidate.task.words,
        labelled=candidate.labelled,
        parity=parity,
        latency=candidate.latency,
        bytes=candidate.bytes,
        comparability=own,
        over_checkpoint=compare_answers(candidate, dense) if taken_as_is and compared else None,
    )
    gates = tuple(candidate_gates(params, facts))
    if champion is None:
        return gates, numbers
    if not both.comparable:
        numbers["champion_latency"] = champion.latency
        refused = not_compared("comparable_with_champion", "the champion", both, "replacing it takes force")
        return (*gates, refused), numbers
    return (*gates, *gates_against(params, candidate, champion)), numbers | _over_champion(params, candidate, champion)


def _over_champion(params: PromoteParams, candidate: MeasuredNetwork, champion: MeasuredNetwork) -> dict[str, float]:
    """The numbers that the gates against the champion stand on."""
    counts = compare_answers(candidate, champion)
    return {
        f"champion_{champion.task.measure}": champion.value,
        "champion_latency": champion.latency,
        "gain": counts.difference,
        "gain_low": gain_at_worst(params, counts),
        **{name: float(value) for name, value in counts.metrics().items()},
        "churn": churn(candidate, champion),
        **{f"{name.lower()}_of_champion": share for name, share in candidate.sizes_against(champion).items()},
    }


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _table_row(cells: Iterable[str]) -> str:
    escaped = (_one_line(cell).replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
