"""Which requests to disturb, and how often."""

from pathlib import Path

PART = 5 * 2**20
ALWAYS = 10_000


def is_range(request) -> bool:
    return request.method == "GET" and "Range" in request.headers


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def patience(fault: dict[str, object]) -> dict[str, object]:
    """A short wait where the fault is silence, and then more tries: a busy machine is slow, too."""
    return {"read_timeout": 0.7, "attempts": 8} if fault["act"] == "stall" else {}
