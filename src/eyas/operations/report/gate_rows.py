"""How the gates of a promotion go by what the run measured; those against a champion wait for the promotion."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from eyas.operations.beside_verdict import beside_verdict
from eyas.operations.candidate_gates import CandidateFacts, candidate_gates
from eyas.operations.gate import percent, points
from eyas.operations.promote_params import PromoteParams
from eyas.operations.report.measured_facts import measured_facts, verdict_on
from eyas.operations.report.result_table import small
from eyas.operations.report.results import Results

Outcome = Literal["holds", "refuses", "not decided"]
_PRESETS = {
    "better": "more accurate than the champion",
    "not_worse_and_smaller": "no less accurate than the champion, and smaller",
    "not_worse_and_faster": "no less accurate than the champion, and faster",
    "improved": "more accurate than the champion; or no less accurate, and smaller",
}
_LATER = "asked when it is promoted, where there is a champion"
_NEXT = (
    "A run registers its network as a candidate whatever stands here. `eyas promote` decides: it measures the "
    "registered files again, asks these gates of them, and keeps its decision with the version, where `eyas status` "
    "finds it."
)


@dataclass(frozen=True)
class GateRow:
    """A gate, and how it goes."""

    name: str
    outcome: Outcome
    reason: str
    """What was measured, and what is asked for."""


def gate_rows(results: Results, params: Mapping[str, Any]) -> list[GateRow]:
    """Every gate that `promote` asks for.

    Args:
        results: what the stages left; accuracies are those of PyTorch.
        params: all parameters, as plain values; of a section that is missing its defaults.
    """
    promote = PromoteParams(**params.get("promote") or {})
    facts = _facts(results, params.get("export") or {})
    beside = {"parity": _parity(results)}
    rows = [
        GateRow(gate.name, "holds" if gate.passed else "refuses", gate.reason + beside.get(gate.name, ""))
        for gate in candidate_gates(promote, facts)
    ]
    return [*rows, *(GateRow(name, "not decided", f"{words}: {_LATER}") for name, words in _against(promote))]


def gate_lines(results: Results, rows: list[GateRow]) -> list[str]:
    """What follows from them for the registry; where the verdict says something else, why."""
    refused = [row.name for row in rows if row.outcome == "refuses"]
    verdict = verdict_on(results).tags()["eyas.verdict"]
    if refused:
        which = f"the gate{'s' if len(refused) > 1 else ''} {', '.join(f'`{name}`' for name in refused)}"
        head = f"**`eyas promote` refuses this network as it is measured here**, by {which}."
    else:
        head = "**Every gate that needs no champion holds**: they let this network pass as it is measured here."
    beside = beside_verdict(passed=not refused, verdict=verdict)
    return [head, *([f"{beside[0].upper()}{beside[1:]}."] if beside else []), _NEXT]


def _facts(results: Results, limits: Mapping[str, Any]) -> CandidateFacts:
    """As the stages measured them. A limit of ``export`` that is not given holds, for it refuses such a file."""
    facts, file = measured_facts(results), results.parity["files"]["model.onnx"]
    small = file["max_difference"] <= limits.get("max_difference", math.inf)
    as_is = results.metrics["baseline"].get("epochs") == 0 and results.comparability.comparable
    return CandidateFacts(
        value=facts.pruned_accuracy,
        dense_value=facts.dense_accuracy,
        measure=facts.measure,
        labelled=facts.labelled,
        parity=small and file["agreement"] >= limits.get("min_agreement", 0.0),
        latency=results.latency["milliseconds"]["model"]["median"],
        bytes=results.files["model.onnx"]["bytes"],
        comparability=results.comparability,
        over_checkpoint=facts.test if as_is else None,
    )


def _parity(results: Results) -> str:
    file = results.parity["files"]["model.onnx"]
    same = f"the same answer to {percent(file['agreement'])} of {file['images']:,} images"
    return f": {same}, largest difference {small(file['max_difference'])}"


def _against(promote: PromoteParams) -> Iterator[tuple[str, str]]:
    """Gates that need a champion, and what they ask for."""
    if promote.max_churn is not None:
        yield "churn", f"other answers than the champion's on at most {percent(promote.max_churn)} of the test images"
    if promote.min_gain is not None:
        yield "gain", f"a gain over the champion of at least {points(promote.min_gain)}"
    if promote.rule is not None:
        yield "champion", _PRESETS[promote.rule]
