"""What every benchmark shares: the hardware in words, a table on the screen, a dated file beside the others."""

import datetime
import json
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"


def hardware() -> str:
    """The machine, torch and its threads."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    load = os.getloadavg()[0]
    return f"{name}, {os.cpu_count()} cores{gpu}; torch {torch.__version__}; load {load:.1f} at the end"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; floats in four digits."""
    cells = [list(header), ["---"] * len(header), *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def publish(name: str, title: str, notes: Sequence[str], body: str) -> Path:
    """Print a result and write ``results/<date>-<name>.md``."""
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    lines = [f"# {title}", "", f"{today}. {hardware()}.", "", *(f"- {note}" for note in notes), "", body, ""]
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{today}-{name}.md"
    path.write_text("\n".join(lines))
    print("\n".join(lines))
    return path


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Measurements of a file with one JSON object a line; none without the file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Add a measurement, with the date and the hardware, and show it."""
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    line = json.dumps({**row, "date": today, "hardware": hardware()})
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        file.write(line + "\n")
    print(line, flush=True)


def mean_and_error(values: Sequence[float]) -> str:
    """Mean in percent, with the standard error where there are several."""
    mean = f"{100 * statistics.mean(values):.1f}"
    return f"{mean} ± {100 * statistics.stdev(values) / len(values) ** 0.5:.1f}" if len(values) > 1 else mean


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
