"""The page: ``report.md`` around the table and the pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eyas.data.tasks import Task
from eyas.deploy.artifact_gate import judged_share
from eyas.operations.report import pictures
from eyas.operations.report.diagnostic_words import WORDS, diagnostic_values
from eyas.operations.report.format_table import format_table
from eyas.operations.report.gate_rows import gate_lines, gate_rows
from eyas.operations.report.gist import Gist, gist_of
from eyas.operations.report.html_page import write_html
from eyas.operations.report.latency_words import latency_note
from eyas.operations.report.measured_facts import measured_facts, verdict_on
from eyas.operations.report.page_title import page_title
from eyas.operations.report.result_table import (
    NOT_COMPARABLE,
    count,
    markdown_table,
    percent,
    remark,
    result_rows,
    small,
)
from eyas.operations.report.results import Results, read_results
from eyas.operations.report.sentences import capitalised, data_lines, diagnosis_lines, score_lines, search_lines
from eyas.operations.typed_commands import pasted
from eyas.operations.unknown_without_labels import unknown_without_labels
from eyas.operations.verdict import Verdict

PICTURES = {
    "scores": "Score of every candidate against its MACs.",
    "distribution": "Distribution of the candidates' scores.",
    "widths": "Channels the winner keeps, per group.",
    "curves": "Training of the dense network and fine-tuning of the pruned one.",
}
_MEASURES = tuple(member.measure for member in Task.members().values())


def write_report(artifacts: Path, *, params: Mapping[str, Any], reproduce: Sequence[str] = ()) -> Path:
    """Write ``artifacts/report``: pictures, ``report.md`` and ``report.html``; returns the path of the former.

    Args:
        artifacts: what the six stages left.
        params: all parameters, as plain values.
        reproduce: lines of "how to reproduce" (command, commit, run).
    """
    folder = artifacts / "report"
    folder.mkdir(parents=True, exist_ok=True)
    results = read_results(artifacts)
    pictures.draw_all(results, folder)
    page = folder / "report.md"
    page.write_text(render(results, params, reproduce))
    write_html(results, artifacts, params=params, reproduce=reproduce)
    return page


def render(results: Results, params: Mapping[str, Any], reproduce: Sequence[str]) -> str:
    """The page's text."""
    parts = [
        f"# {page_title(results, params)}: pruned against dense",
        verdict_markdown(verdict_on(results), gist_of(results, params)),
        markdown_table(result_rows(results)),
        f"**{remark(results)}**" if remark(results) else "",
        latency_note(results.latency),
        format_table(results),
        "## Promotion",
        _promotion(results, params),
        "## Pictures",
        *(f"![{text}]({picture}.png)\n\n*{text}*" for picture, text in _pictures(results).items()),
        "## Data",
        _data(results, params.get("baseline") or {}),
        *_unknown(results),
        f"## {'Accuracy' if results.test_task.labelled else 'Agreement'} along the way",
        _accuracies(results),
        "## The search",
        _search(results, params),
        *(["## Diagnosis", _diagnosis(results)] if results.diagnostics.get("diagnosis") else []),
        "## Parity",
        _parity(results),
        *(["## Diagnostics of the scores", _diagnostics(results)] if results.diagnostics else []),
        "## How to reproduce",
        _reproduce(reproduce),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _pictures(results: Results) -> dict[str, str]:
    """Pictures and what they show."""
    if results.histories["finetune"].epoch:
        return PICTURES
    dense = "the dense network" if results.histories["baseline"].epoch else "nothing"
    return PICTURES | {"curves": f"Training of {dense}; the pruned network was not trained."}


def verdict_markdown(verdict: Verdict, gist: Gist) -> str:
    """The gist in bold, the difference that was measured, and every remark as a point of a list."""
    points = "\n".join(f"- {remark.text}" for remark in verdict.remarks)
    return "\n\n".join(filter(None, [f"**{gist.sentence}.**", f"{capitalised(verdict.comparison)}.", points]))


def _promotion(results: Results, params: Mapping[str, Any]) -> str:
    """The gates as a table, and what follows from them."""
    gates = gate_rows(results, params)
    cells = [(row.name.replace("_", " "), row.outcome, row.reason.replace("|", r"\|")) for row in gates]
    rows = [f"| {' | '.join(row)} |" for row in cells]
    table = "\n".join(["| gate | outcome | measured, and asked for |", "| --- | --- | --- |", *rows]) if rows else ""
    return "\n\n".join(filter(None, [table, *gate_lines(results, gates)]))


def _unknown(results: Results) -> list[str]:
    lines = unknown_without_labels(measured_facts(results))
    return ["## What is not known without labels", "\n".join(f"- {line}" for line in lines)] if lines else []


def _accuracies(results: Results) -> str:
    """Every accuracy the stages reported, by stage and name."""
    rows = [
        f"| {stage} | {name.replace('_', ' ')} | {percent(value)} |"
        for stage in ("baseline", "score", "finetune")
        for name, value in results.metrics.get(stage, {}).items()
        if any(measure in name for measure in _MEASURES)
    ]
    head = f"| stage | {'accuracy' if results.test_task.labelled else 'agreement'} | value |"
    return "\n".join([*_marked(results), head, "| --- | --- | ---: |", *rows])


def _marked(results: Results) -> list[str]:
    """Lines above numbers of both networks that must not be compared."""
    return [] if results.comparability.comparable else [f"**These accuracies are {NOT_COMPARABLE}, see above.**", ""]


def _data(results: Results, baseline: Mapping[str, Any]) -> str:
    source, *further = data_lines(results, baseline)
    splits = [f"| {split} | {images:,} |" for split, images in results.split_images.items()]
    lines = [source, "\n".join(["| split | images |", "| --- | ---: |", *splits]), *further]
    return "\n\n".join(lines)


def _search(results: Results, params: Mapping[str, Any]) -> str:
    lines = search_lines(results, params)
    if results.frozen:
        lines += ["", "Not prunable:", "", *(_frozen(entry) for entry in results.frozen)]
    return "\n".join(lines)


def _diagnosis(results: Results) -> str:
    return "\n".join(f"- {line}" for line in diagnosis_lines(results))


def _frozen(entry: Mapping[str, Any]) -> str:
    return f"- `{entry['name']}`: {entry['reason']}"


def _parity(results: Results) -> str:
    sliced = results.parity["slicing"]
    judged, _ = judged_share(results.parity["files"]["model.onnx"])
    rows = [_file_row(name, comparison) for name, comparison in results.parity["files"].items()]
    lines = [
        "Each file against PyTorch on real test images:",
        "",
        *_marked(results),
        f"| file | largest difference | relative | top-1 agreement | {judged} | size | images |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        *rows,
        "",
        f"The sliced network against the masked dense one: relative difference {small(sliced['relative_difference'])}.",
    ]
    if "churn" in results.metrics.get("export", {}):
        churn = percent(results.metrics["export"]["churn"])
        seen = "" if results.comparability.comparable else f" ({NOT_COMPARABLE}: see above)"
        lines.append(f"The pruned network answers otherwise than the dense one on {churn} of the images{seen}.")
    return "\n".join(lines)


def _file_row(name: str, comparison: Mapping[str, Any]) -> str:
    difference = f"{small(comparison['max_difference'])} | {small(comparison['relative_difference'])}"
    shares = f"{percent(comparison['agreement'])} | {percent(judged_share(comparison)[1])}"
    return f"| {name} | {difference} | {shares} | {count(comparison['bytes'])}B | {comparison['images']:,} |"


def _diagnostics(results: Results) -> str:
    """Warnings and what scores are worth in words; numbers by name as a table, folded away."""
    flat = [f"| {WORDS.get(name, name)} | {value} |" for name, value in diagnostic_values(results)]
    words = [f"- {line}" for line in [*results.diagnostics.get("warnings", []), *score_lines(results)]]
    table = "\n".join(["| what | value |", "| --- | ---: |", *flat])
    folded = f"<details><summary>All numbers of the race</summary>\n\n{table}\n\n</details>"
    return "\n\n".join(filter(None, ["\n".join(words), folded]))


def _reproduce(lines: Sequence[str]) -> str:
    """Commands alone, and what is said of them below."""
    commands, notes = pasted(lines or ["eyas run"])
    return "\n\n".join(filter(None, [f"```\n{commands}\n```", "\n".join(f"- {note}" for note in notes)]))
