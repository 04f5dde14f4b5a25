"""The page: ``report.md`` around the table and the pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eyas.data.left_out import in_words
from eyas.operations.report import pictures
from eyas.operations.report.format_table import format_table
from eyas.operations.report.measured_facts import verdict_on
from eyas.operations.report.result_table import (
    NOISY,
    NOT_COMPARABLE,
    count,
    markdown_table,
    noisy,
    percent,
    remark,
    result_rows,
    signed,
)
from eyas.operations.report.results import Results, read_results
from eyas.operations.uniform_outcome import uniform_outcome
from eyas.operations.verdict import Verdict

PICTURES = {
    "scores": "Score of every candidate against its MACs.",
    "distribution": "Distribution of the candidates' scores.",
    "widths": "Channels the winner keeps, per group.",
    "curves": "Training of the dense network and fine-tuning of the pruned one.",
}
_DENSE_ACCURACIES = (("probe", "original"), ("probe", "recalibrated"))
"""Diagnostics that are accuracies of the dense network."""


def write_report(artifacts: Path, *, params: Mapping[str, Any], reproduce: Sequence[str] = ()) -> Path:
    """Write ``artifacts/report``: pictures and ``report.md``; returns the page's path.

    Args:
        artifacts: what the six stages left.
        params: all parameters, as plain values.
        reproduce: lines of "how to reproduce" (command, commit, run).
    """
    folder = artifacts / "report"
    folder.mkdir(parents=True, exist_ok=True)
    results = read_results(artifacts)
    kind = results.diagnostics.get("settings", {}).get("scorer", {}).get("kind", "")
    pictures.draw_all(results, folder, "top1" if results.ranked_by_accuracy else kind)
    page = folder / "report.md"
    page.write_text(render(results, params, reproduce))
    return page


def render(results: Results, params: Mapping[str, Any], reproduce: Sequence[str]) -> str:
    """The page's text."""
    name = results.architecture.arguments.get("name", results.architecture.architecture)
    parts = [
        f"# {name}: pruned against dense",
        verdict_markdown(verdict_on(results)),
        markdown_table(result_rows(results)),
        f"**{remark(results)}**" if remark(results) else "",
        _latency_note(results),
        format_table(results),
        "## Pictures",
        *(f"![{text}]({picture}.png)\n\n*{text}*" for picture, text in _pictures(results).items()),
        "## Data",
        _data(results, params.get("baseline") or {}),
        "## Accuracy along the way",
        _accuracies(results),
        "## The search",
        _search(results, params),
        *(["## Diagnosis", _diagnosis(results)] if results.diagnostics.get("diagnosis") else []),
        "## Parity",
        _parity(results),
        *(["## Diagnostics of the scores", _diagnostics(results)] if results.diagnostics else []),
        "## How to reproduce",
        _code(reproduce),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _pictures(results: Results) -> dict[str, str]:
    """Pictures and what they show."""
    if results.histories["finetune"].epoch:
        return PICTURES
    dense = "the dense network" if results.histories["baseline"].epoch else "nothing"
    return PICTURES | {"curves": f"Training of {dense}; the pruned network was not trained."}


def verdict_markdown(verdict: Verdict) -> str:
    """The headline in bold, and every remark as a point of a list."""
    return "\n".join([f"**{verdict.headline}.**", *(f"- {remark.text}" for remark in verdict.remarks)])


def _latency_note(results: Results) -> str:
    latency = results.latency
    return (
        f"Latency: {latency['runs']} interleaved runs each in {latency['runtime']}, {latency['threads']} thread(s), "
        f"batch {latency['batch']}, on {latency['cpu']} ({latency['cores']} cores)."
        + (f" A 95th percentile above {NOISY:g} medians is noisy: the machine was busy." if noisy(latency) else "")
    )


def _data(results: Results, baseline: Mapping[str, Any]) -> str:
    manifest = results.manifest
    source = ", ".join(f"{part} `{address}`" for part, address in manifest["source"].items())
    image = manifest["image"]
    pixels = "" if results.task.kind == "classification" else f", one for each pixel ({results.task.kind})"
    lines = [
        f"Source: {source}. {len(manifest['classes'])} classes{pixels}, images of {image['channels']} x "
        f"{image['size']} x {image['size']} (channels, height, width). Data set `{manifest['digest'][:16]}`.",
        "",
        "| split | images |",
        "| --- | ---: |",
        *(f"| {split} | {images:,} |" for split, images in results.split_images.items()),
    ]
    if manifest.get("left_out"):
        lines += ["", f"Left out, files and images by kind: {in_words(manifest['left_out'])}."]
    if results.architecture.seen_by_checkpoint:
        lines += [
            "",
            "**The checkpoint was trained by others on all of the training data**, score and calibration images "
            "included (`seen_by_checkpoint`): scores are on images it has seen.",
        ]
    elif baseline.get("checkpoint") and baseline.get("seen_by_checkpoint") is None:
        lines += [
            "",
            "Whether the checkpoint was trained on the training data is not said (`baseline.seen_by_checkpoint`): "
            "scores may be on images it has seen.",
        ]
    return "\n".join(lines)


def _accuracies(results: Results) -> str:
    """Every accuracy the stages reported, by stage and name."""
    rows = [
        f"| {stage} | {name.replace('_', ' ')} | {percent(value)} |"
        for stage in ("baseline", "score", "finetune")
        for name, value in results.metrics.get(stage, {}).items()
        if "accuracy" in name or "mean_iou" in name
    ]
    return "\n".join([*_marked(results), "| stage | accuracy | value |", "| --- | --- | ---: |", *rows])


def _marked(results: Results) -> list[str]:
    """Lines above numbers of both networks that must not be compared."""
    return [] if results.comparability.comparable else [f"**These accuracies are {NOT_COMPARABLE}, see above.**", ""]


def _search(results: Results, params: Mapping[str, Any]) -> str:
    winner, groups = results.winner, results.groups
    scores = [candidate.score for candidate in results.candidates]
    budget = params.get("sample", {}).get("budget") or {}
    asked = ", ".join(_budget(name, value) for name, value in budget.items() if value is not None)
    lines = [
        f"{len(results.candidates)} candidates over {len(groups)} groups of channels, budget {asked or 'unknown'}; "
        f"scores from {signed(min(scores))} to {signed(max(scores))}.",
        f"The winner, candidate {winner.index}, scores {signed(winner.score)} ± {winner.standard_error:.4f} on "
        f"{results.judged_on(winner)} and costs {count(winner.macs)} MACs.",
    ]
    if results.frozen:
        lines += ["", "Not prunable:", "", *(_frozen(entry) for entry in results.frozen)]
    return "\n".join(lines)


def _diagnosis(results: Results) -> str:
    """Whether the winner beats uniform widths, by score and after fine-tuning; what to do where scores say little."""
    lines = list(results.diagnostics["diagnosis"])
    came = uniform_outcome(results.metrics["finetune"], results.diagnostics)
    lines += [f"{came}{results.comparability.note}"] if came else []
    return "\n".join(f"- {line}" for line in lines)


def _budget(name: str, value: float) -> str:
    """A number up to 1 is a share of the dense cost."""
    return f"{100 * value:g} % of the {name}" if value <= 1 else f"{count(value)} {name}"


def _frozen(entry: Mapping[str, Any]) -> str:
    return f"- `{entry['name']}`: {entry['reason']}"


def _parity(results: Results) -> str:
    slicing = results.parity["slicing"]
    rows = [_file_row(name, comparison) for name, comparison in results.parity["files"].items()]
    lines = [
        "Each file against PyTorch on real test images:",
        "",
        *_marked(results),
        "| file | largest difference | relative | top-1 agreement | accuracy | size | images |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        *rows,
        "",
        f"The sliced network against the masked dense one: relative difference {slicing['relative_difference']:.2e}.",
    ]
    if "churn" in results.metrics.get("export", {}):
        churn = percent(results.metrics["export"]["churn"])
        seen = "" if results.comparability.comparable else f" ({NOT_COMPARABLE}: see above)"
        lines.append(f"The pruned network answers otherwise than the dense one on {churn} of the images{seen}.")
    return "\n".join(lines)


def _file_row(name: str, comparison: Mapping[str, Any]) -> str:
    difference = f"{comparison['max_difference']:.2e} | {comparison['relative_difference']:.2e}"
    shares = f"{percent(comparison['agreement'])} | {percent(comparison['accuracy'])}"
    return f"| {name} | {difference} | {shares} | {count(comparison['bytes'])}B | {comparison['images']:,} |"


def _diagnostics(results: Results) -> str:
    """Numbers by name as a table, nested ones with dotted names; warnings in words; settings are parameters."""
    facts, note = results.diagnostics, results.comparability.note
    flat: list[str] = []
    for name, value in facts.items():
        if name in ("settings", "warnings", "diagnosis"):
            continue
        inner = value if isinstance(value, Mapping) else {"": value}
        for part, number in inner.items():
            seen = note if (name, part) in _DENSE_ACCURACIES else ""
            flat.append(f"| {'.'.join(filter(None, (name, part)))} | {_short(number)}{seen} |")
    warnings = [f"- {warning}" for warning in facts.get("warnings", [])]
    return "\n".join([*warnings, *([""] if warnings else []), "| what | value |", "| --- | ---: |", *flat])


def _short(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_short, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _code(lines: Sequence[str]) -> str:
    return "\n".join(["```", *(lines or ["eyas run"]), "```"])
