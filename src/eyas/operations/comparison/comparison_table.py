"""A comparison as one table: as Markdown, and as cells for the terminal and the page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from eyas.operations.comparison.compared_network import ComparedNetwork
from eyas.operations.comparison.comparison import Comparison, Difference, difference_words, paired_words
from eyas.operations.report.result_table import count, signed
from eyas.storage import redact

NOTHING = "–"
_TIMED_OFTEN = "the dense network was timed beside each of the others: its medians lie between the two latencies"


@dataclass(frozen=True)
class ComparisonTable:
    """Columns and rows, ready to print."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    """What must be said of its cells."""


def comparison_table(comparison: Comparison, *, recorded: bool = False) -> ComparisonTable:
    """A row for each dense network and for each that is compared; the columns of what is known of any.

    With ``recorded`` also where each is recorded, for tables that can hold no links.
    """
    measures = list(dict.fromkeys(network.measure for network in comparison.networks))
    references = list(dict.fromkeys(one.against for one in comparison.differences if one and one.paired))
    against = f"points from {references[0]}" if len(references) == 1 else "difference, points"
    header: tuple[str, ...] = ("", f"test {' or '.join(measures)}, %", "points from dense", against)
    header += ("MACs", "params", "file", "latency", "score", "verdict")
    header += ("version", "MLflow run") if recorded else ()
    rows = [_row(dense, None, timed=[one.dense or dense for one in own]) for dense, own in comparison.dense]
    pairs = zip(comparison.networks, comparison.differences, strict=True)
    rows += [_row(network, difference, several=len(references) > 1) for network, difference in pairs]
    kept = [place for place in range(len(header)) if not place or any(row[place] != NOTHING for row in rows)]
    return ComparisonTable(
        tuple(header[place] for place in kept),
        tuple(tuple(row[place] for place in kept) for row in rows),
        (_TIMED_OFTEN,) if any(" to " in row[header.index("latency")] for row in rows) else (),
    )


def markdown_comparison(comparison: Comparison) -> str:
    """Title, table and notes as Markdown."""
    table = comparison_table(comparison)
    rule = ("---", *("---:" for _ in table.header[1:]))
    lines = [f"| {' | '.join(map(_escaped, line))} |" for line in (table.header, rule, *table.rows)]
    title = [
        f"# {_escaped(comparison.title)}",
        "",
        *([f"Compared on {comparison.date}.", ""] if comparison.date else []),
    ]
    return "\n".join([*title, *lines, *(f"\n{note}" for note in (*table.notes, *comparison.notes))]) + "\n"


def markdown_links(comparison: Comparison) -> str:
    """What to follow from each network, as Markdown; names without secrets, so that the addresses can stay whole."""
    lines = [
        f"- {_escaped(redact(one.name))}: {', '.join(f'[{text}]({address})' for text, address in one.origin.links())}"
        for one in comparison.networks
        if one.origin.links()
    ]
    return "\n".join(["", *lines, ""]) if lines else ""


def short_names(names: Sequence[str]) -> list[str]:
    """Names of profiles without what all begin with: ``macs=0.5`` and ``macs=0.25``."""
    parts = [name.split("+") for name in names]
    shared = {part for part in parts[0] if all(part in others for others in parts)} if parts else set()
    short = ["+".join(last_name(part) for part in own if part not in shared) for own in parts]
    return short if all(short) and len(set(short)) == len(set(names)) == len(names) else list(names)


def last_name(part: str) -> str:
    """``sample.budget.macs=0.5`` by its last name."""
    place, sign, value = part.partition("=")
    return f"{place.rpartition('.')[2]}{sign}{value}"


def _row(
    network: ComparedNetwork,
    difference: Difference | None,
    *,
    several: bool = False,
    timed: Sequence[ComparedNetwork] = (),
) -> tuple[str, ...]:
    """Its cells; ``timed`` are further measurements of the same network."""
    low, high = network.interval
    interval = f" ({100 * low:.2f} to {100 * high:.2f})" if math.isfinite(low) else ""
    name = f"{network.name} ({network.detail})" if network.detail else network.name
    accuracy = f"{100 * network.accuracy:.2f}{interval}" if math.isfinite(network.accuracy) else NOTHING
    return (
        name,
        accuracy + network.comparability.note,
        paired_words(network.change) if network.change else NOTHING,
        _difference(difference, several=several),
        _counted(network.macs),
        _counted(network.params),
        _counted(network.file_bytes, "B"),
        _milliseconds([one.latency_ms for one in (network, *timed)]),
        signed(network.score) if math.isfinite(network.score) else NOTHING,
        _verdict(network),
        _version(network.origin.version),
        network.origin.run_id[:8] or NOTHING,
    )


def _difference(difference: Difference | None, *, several: bool) -> str:
    if difference is None:
        return NOTHING
    words = difference_words(difference)
    if not words:
        return "not comparable" if difference.why_not else NOTHING
    return f"{words} from {difference.against}" if several else words


def _milliseconds(medians: Sequence[float]) -> str:
    """A time; of several the shortest, and up to the longest."""
    known = sorted(filter(math.isfinite, medians))
    shortest, longest = (f"{end:.3g}" for end in (known[0], known[-1])) if known else ("", "")
    return f"{shortest}{f' to {longest}' if longest != shortest else ''} ms" if known else NOTHING


def _verdict(network: ComparedNetwork) -> str:
    """In a word or two."""
    return f"{network.measure} {network.verdict}" if network.verdict in ("held", "lost") else network.verdict or NOTHING


def _version(version: str) -> str:
    model, _, number = version.rpartition(" version ")
    return f"version {number} ({model})" if number else NOTHING


def _counted(value: float, unit: str = "") -> str:
    return f"{count(value)}{unit}" if math.isfinite(value) else NOTHING


def _escaped(cell: str) -> str:
    return " ".join(cell.split()).replace("|", r"\|")
