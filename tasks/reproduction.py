"""What it takes to make a registered version again, as values and as lines for the terminal."""

from dataclasses import asdict, dataclass
from typing import Any

from eyas.cli.terminal import wrapped, wrapped_step
from eyas.operations.lineage import Lineage
from eyas.operations.tracking import Version
from eyas.operations.typed_commands import is_command


@dataclass(frozen=True)
class Check:
    """One thing, and whether it is as it was."""

    name: str
    holds: bool
    text: str


@dataclass(frozen=True)
class Reproduction:
    """How to make a version again."""

    version: Version
    lineage: Lineage
    needed: tuple[Check, ...]
    """What the commands cannot do without."""
    here: tuple[Check, ...]
    """What the checkout and the workspace hold now; the commands bring what differs."""
    report: str | None
    """Where the report of its making lies."""
    commands: tuple[str, ...]

    @property
    def ready(self) -> bool:
        """Whether the commands give the version again, from this clone."""
        return all(check.holds for check in self.needed)

    @property
    def differs(self) -> tuple[str, ...]:
        """What is not here as it was: of code, params, data, checkpoint and lock."""
        return tuple(check.name for check in self.here if not check.holds)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain data."""
        return {
            "model": self.version.name,
            "version": self.version.number,
            "lineage": asdict(self.lineage),
            "report": self.report,
            "needed": [asdict(check) for check in self.needed],
            "here": [asdict(check) for check in self.here],
            "differs": list(self.differs),
            "commands": list(self.commands),
        }

    def lines(self, width: int | None = None) -> list[str]:
        """For the terminal; in lines of at most ``width``, if it is given, and commands as they can be pasted."""
        known = self.lineage
        facts = {
            "data set": known.dataset_hash,
            "dense weights": known.baseline_sha256,
            "parameters": known.params_digest,
            "commit": known.git_commit or "unknown",
            "profile": known.profile,
            "MLflow run": known.run_id,
            "report": self.report or "none",
        }
        head = [str(self.version), *(f"  {name:14} {value}" for name, value in facts.items())]
        needed = [f"  {'ok ' if check.holds else 'NO '} {check.name}: {check.text}" for check in self.needed]
        here = [f"  {'same   ' if check.holds else 'DIFFERS'} {check.name}: {check.text}" for check in self.here]
        commands = [f"  {wrapped_step(line, width, 2) if is_command(line) else line}" for line in self.commands]
        text = [*head, "", "Needed:", *needed, "", "Here and now:", *here, "", "To make it again:"]
        return [*(wrapped(line, width) for line in text), *commands]
