"""``report.html``: one page that needs nothing beside it, drawn from a template and the stages' results."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from eyas.deploy.artifact_gate import judged_share
from eyas.operations.report.charts import learning_chart, loss_chart, score_chart, shown_candidates
from eyas.operations.report.class_changes import MOST_CLASSES, class_changes, confusion_matrix, confusions
from eyas.operations.report.diagnostic_words import MEANINGS, WORDS, diagnostic_values
from eyas.operations.report.gate_rows import gate_lines, gate_rows
from eyas.operations.report.gist import gist_of
from eyas.operations.report.image_grids import image_grids
from eyas.operations.report.label_places import with_label_places
from eyas.operations.report.latency_words import latency_note
from eyas.operations.report.measured_facts import measured_facts, verdict_on
from eyas.operations.report.page_templates import page_templates, unbroken
from eyas.operations.report.page_title import page_title
from eyas.operations.report.pictures import score_label, shortened
from eyas.operations.report.result_table import HEADLINES, count, percent, recommended_row, remark, result_rows, small
from eyas.operations.report.results import Results
from eyas.operations.report.sentences import data_lines, diagnosis_lines, score_lines, search_lines
from eyas.operations.report.svg_axes import ChartAxis, axis_over
from eyas.operations.report.trade_offs import checked_files, trade_offs
from eyas.operations.report.uniform_column import uniform_cells, uniform_note
from eyas.operations.typed_commands import pasted
from eyas.operations.unknown_without_labels import unknown_without_labels
from eyas.operations.verdict import AGREEMENT_MARGIN, MARGIN, Verdict

PAGE = "report.html"
_MOST_CHANGES = 20
"""Classes whose change is listed; of more, the greatest losses and gains."""


@dataclass(frozen=True)
class IntervalLine:
    """Where the true change of accuracy lies, on a line of points."""

    axis: ChartAxis
    low: float
    middle: float
    high: float
    margin: float
    """A loss that counts as none."""


def write_html(results: Results, artifacts: Path, *, params: Mapping[str, Any], reproduce: Sequence[str]) -> Path:
    """Write the page beside the Markdown one; returns its path. The arguments are those of ``write_report``."""
    page = artifacts / "report" / PAGE
    page.write_text(render_html(results, artifacts, params=params, reproduce=reproduce), encoding="utf-8")
    return page


def render_html(results: Results, artifacts: Path, *, params: Mapping[str, Any], reproduce: Sequence[str]) -> str:
    """The page's text; whatever comes from the user is escaped."""
    environment = page_templates()
    environment.filters |= {
        "marked": marked,
        "count": count,
        "percent": percent,
        "small": small,
        "shortened": shortened,
        "share": judged_share,
    }
    verdict, decides = verdict_on(results), f"test {results.test_task.words}"
    gates = gate_rows(results, params)
    return environment.get_template("report.html.jinja").render(
        results=results,
        title=page_title(results, params),
        verdict=verdict,
        gist=gist_of(results, params),
        interval=interval_line(verdict, MARGIN if results.test_task.labelled else AGREEMENT_MARGIN),
        unknown=unknown_without_labels(measured_facts(results)),
        remark=remark(results),
        rows=[row for row in result_rows(results) if row not in recommended_row(results)],
        headlines=[row for row in result_rows(results) if row.name.startswith((decides, *HEADLINES))],
        uniform=uniform_cells(results),
        uniform_note=uniform_note(results),
        latency_note=latency_note(results.latency),
        gates=gates,
        gate_lines=gate_lines(results, gates),
        **_search(results, params),
        **_answers(results, artifacts),
        files=checked_files(results) or results.parity["files"],
        diagnostics=[
            (name, WORDS.get(name, name), value, MEANINGS.get(name, "")) for name, value in diagnostic_values(results)
        ],
        data=data_lines(results, params.get("baseline") or {}),
        reproduce=pasted(reproduce or ["eyas run"]),
    )


def _search(results: Results, params: Mapping[str, Any]) -> dict[str, Any]:
    """What the race and the trainings have to show."""
    drawn = [*shown_candidates(results), results.winner, *([results.uniform] if results.uniform else [])]
    return {
        "macs_chart": trade_offs(results)[0],
        "latency_chart": trade_offs(results)[1],
        "score_chart": with_label_places(score_chart(results, score_label(results))),
        "loss_chart": loss_chart(results),
        "learning_chart": learning_chart(results),
        "search": search_lines(results, params),
        "diagnosis": diagnosis_lines(results),
        "score_lines": score_lines(results),
        "warnings": results.diagnostics.get("warnings", []),
        "widths": {
            "groups": [[group.name, group.channels] for group in results.groups],
            "kept": {candidate.index: candidate.widths for candidate in drawn},
        },
    }


def _answers(results: Results, artifacts: Path) -> dict[str, Any]:
    """What became of single classes and images."""
    changes, matrices, pairs = class_changes(results), {}, []
    if results.answers is not None and results.answers.answers:
        if len(results.manifest["classes"]) <= MOST_CLASSES:
            matrices = {name: confusion_matrix(results, name).tolist() for name in ("dense", "pruned")}
        else:
            pairs = confusions(results)
    half = _MOST_CHANGES // 2
    return {
        "changes": changes if len(changes) <= _MOST_CHANGES else [*changes[:half], *changes[-half:]],
        "changes_total": len(changes),
        "matrices": matrices,
        "pairs": pairs,
        "grids": image_grids(results, artifacts),
    }


def interval_line(verdict: Verdict, margin: float = MARGIN) -> IntervalLine | None:
    """The paired interval in points; None where dense and pruned network were not compared.

    A loss of ``margin`` counts as none.
    """
    if verdict.test is None:
        return None
    low, high = (100 * end for end in verdict.test.interval())
    axis = axis_over([low, high, 0.0, -200 * margin, 50 * margin], "points against the dense network")
    middle = 100 * verdict.test.difference
    return IntervalLine(axis, axis.place(low), axis.place(middle), axis.place(high), axis.place(-100 * margin))


def marked(text: str) -> Markup:
    """Escaped text in which `code` and **weight** are shown as such, and no number is parted from its unit."""
    pieces = str(escape(text)).split("`")
    joined = "`".join(unbroken(piece) if at % 2 == 0 else piece for at, piece in enumerate(pieces))
    shown = re.sub(r"`([^`]+)`", r"<code>\1</code>", joined)
    return Markup(re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", shown))  # noqa: S704
