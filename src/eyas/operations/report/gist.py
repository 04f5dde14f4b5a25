"""The gist of a run in a sentence: what its verdict is, and whether the gates of a promotion let the network pass."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eyas.operations.paired_counts import in_points
from eyas.operations.promote_params import PromoteParams
from eyas.operations.report.gate_rows import GateRow, gate_rows
from eyas.operations.report.measured_facts import verdict_on
from eyas.operations.report.results import Results
from eyas.operations.verdict import Verdict


@dataclass(frozen=True)
class Gist:
    """Verdict and gates together."""

    head: str
    """Both in a few words."""
    why: str
    """What they stand on; empty where there is nothing to add."""
    refused: bool
    """Whether a gate refuses the network."""
    brief: str = ""
    """The head where a terminal is narrow."""

    @property
    def sentence(self) -> str:
        """Head and reason, without a full stop."""
        return f"{self.head}: {self.why}" if self.why else self.head


def gist_of(results: Results, params: Mapping[str, Any]) -> Gist:
    """Whether the network may be shipped, as far as one run can say; gates against a champion are asked later.

    Args:
        results: what the stages left.
        params: all parameters, as plain values; of a section that is missing its defaults.
    """
    verdict, gates = verdict_on(results), gate_rows(results, params)
    refusing = [row for row in gates if row.outcome == "refuses"]
    if refusing:
        joined = "and" if verdict.accuracy in ("lost", "undecided") else "but"
        brief = f"{_words(verdict)}, refused by the gates"
        return Gist(f"{_words(verdict)}, {joined} the gates refuse it", _refused(refusing), refused=True, brief=brief)
    joined = {"lost": "yet", "undecided": "but"}.get(verdict.accuracy, "and")
    asked = any(row.outcome == "holds" for row in gates)
    passed = "the gates let it pass" if asked else "no gate is asked of it here"
    brief = f"{_words(verdict)}, {'passes the gates' if asked else passed}"
    why = _allowed(verdict, PromoteParams(**params.get("promote") or {}))
    return Gist(f"{_words(verdict)}, {joined} {passed}", why, refused=False, brief=brief)


def _words(verdict: Verdict) -> str:
    measure = verdict.measure[0].upper() + verdict.measure[1:]
    known = {"held": f"{measure} held", "lost": f"{measure} lost", "undecided": "Undecided"}
    return "Success" if verdict.success else known.get(verdict.accuracy, "No verdict")


def _refused(rows: list[GateRow]) -> str:
    first, *others = (row.reason.replace(": allowed", ", allowed").replace(": needs", ", needs") for row in rows)
    first = first.partition("; ")[0]
    return f"{first}; and {len(others)} more, see below" if others else first


def _allowed(verdict: Verdict, promote: PromoteParams) -> str:
    """Why gates that ask for less than the verdict let the network pass."""
    if verdict.accuracy == "held" and verdict.remarks:
        return "what no gate asks about stands below"
    if verdict.accuracy not in ("lost", "undecided") or verdict.test is None:
        return ""
    limit = promote.max_drop if verdict.measure != "agreement" else None
    few = next((one.words.partition(", about")[0] for one in verdict.remarks if one.name == "few_test_images"), "")
    if limit is None:
        return few
    if verdict.accuracy == "lost":
        return f"they allow a loss of {in_points(limit)}"
    measured = (
        f"no loss beyond {in_points(limit)} was measured" if verdict.test.difference < 0 else "no loss was measured"
    )
    return "; ".join(filter(None, [measured, few]))
