"""What a transfer has done so far, on disk: one JSON line per step, so that a killed process loses nothing.

A line is appended when its step is complete, in one write, also from several threads. A line cut short by a crash is
ignored.
"""

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any


class Journal:
    """The steps of one transfer."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[dict[str, Any]]:
        """All complete steps, oldest first."""
        steps = []
        for line in self._path.read_text().splitlines() if self._path.exists() else []:
            with suppress(ValueError):
                steps.append(json.loads(line))
        return steps

    def append(self, **step: Any) -> None:
        """Record a step."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.write("\n" + json.dumps(step))  # a leading newline: a torn line never swallows the next

    def restart(self, **step: Any) -> None:
        """Forget everything, and record the first step anew."""
        self.clear()
        self.append(**step)

    def clear(self) -> None:
        """Forget everything."""
        self._path.unlink(missing_ok=True)


def key_of(text: str) -> str:
    """A short name for the state of an address; shows nothing of it."""
    return hashlib.sha256(text.encode()).hexdigest()[:20]
