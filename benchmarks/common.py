"""What every benchmark shares: the hardware in words, a table on the screen, a dated file beside the others."""

import datetime
import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path

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


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
