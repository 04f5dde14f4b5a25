"""A comparison as one HTML file that loads nothing; it leads to the networks' reports, runs and versions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from eyas.operations.comparison.accuracy_curve import accuracy_curve, latency_curve
from eyas.operations.comparison.comparison import Comparison
from eyas.operations.comparison.comparison_table import comparison_table
from eyas.operations.comparison.differing_fields import differing_fields
from eyas.operations.report.page_templates import page_templates
from eyas.operations.tracking.run_pages import LOCAL
from eyas.operations.typed_commands import typed_command

TEMPLATE = "comparison.html.jinja"


@dataclass(frozen=True)
class PageRow:
    """A network in the page's table."""

    name: str
    cells: tuple[str, ...]
    date: str = ""
    """Day of its run."""
    links: tuple[tuple[str, str], ...] = ()


def comparison_page(comparison: Comparison, folder: Path | None = None, steps: Sequence[str] = ()) -> str:
    """The page's text; names are the user's and escaped.

    Args:
        comparison: what to show.
        folder: where the page will lie, so that it can lead to reports on this machine; without it, it leads to those
            that MLflow keeps.
        steps: commands to type next, as a terminal shows them.
    """
    rows, table = list(_rows(comparison, folder)), comparison_table(comparison)
    return page_templates("eyas.operations.comparison").get_template(TEMPLATE).render(
        about=comparison.about or f"{len(comparison.networks)} networks",
        names=[network.name for network in comparison.networks],
        title=comparison.title,
        date=comparison.date,
        conclusion=comparison.conclusion,
        verdicts=[(network.name, network.verdict_lines) for network in comparison.networks if network.verdict_lines],
        steps=[typed_command(step) for step in steps],
        header=table.header[1:],
        rows=rows,
        curves=[curve for curve in (accuracy_curve(comparison), latency_curve(comparison)) if curve],
        fields=differing_fields(comparison.networks),
        several=len(comparison.groups) > 1,
        notes=[*table.notes, *comparison.notes],
        needs_server=any(address.startswith(LOCAL) for row in rows for _, address in row.links),
    )  # fmt: skip


def _rows(comparison: Comparison, folder: Path | None) -> Iterator[PageRow]:
    origins = [*([None] * len(comparison.dense)), *(network.origin for network in comparison.networks)]
    for (name, *cells), origin in zip(comparison_table(comparison).rows, origins, strict=True):
        date, links = (origin.date, tuple(origin.links(folder))) if origin else ("", ())
        yield PageRow(name, tuple(cells), date, links)
