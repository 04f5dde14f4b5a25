"""One thing that was looked at."""

from dataclasses import dataclass
from typing import Literal

State = Literal["good", "note", "fault"]


@dataclass(frozen=True)
class Finding:
    """What a look came to."""

    name: str
    state: State
    """``note``: a run goes on without it; ``fault``: it stops a run."""
    text: str
    """What is there."""
    advice: str = ""
    """What to do, where there is something to do."""

    def line(self, signs: dict[State, str], width: int) -> str:
        """As a terminal shows it."""
        return f"{signs[self.state]} {self.name:<{width}} {self.text}" + (f": {self.advice}" if self.advice else "")
