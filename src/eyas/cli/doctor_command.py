"""The command ``doctor``: whether this machine can run the pipeline."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import typer

from eyas.cli.options import AsJson
from eyas.cli.project import find_project
from eyas.cli.terminal import terminal_width, wrapped


def doctor(*, as_json: AsJson = False) -> int:
    """Check this machine, and say what to do.

    Looks at versions, device, disk, ports and servers. Exit status 1 if something would stop a run.

    \b
    Examples:
      eyas doctor
      eyas doctor --json
    """
    from eyas.operations.doctor import examine

    findings = examine(find_project(Path.cwd()), Path.cwd())
    faults = sum(finding.state == "fault" for finding in findings)
    if as_json:
        content = {"ready": not faults, "findings": [asdict(finding) for finding in findings]}
        typer.echo(json.dumps(content, indent=2))
        return 1 if faults else 0
    plain = not (sys.stdout.encoding or "").lower().startswith("utf")
    good, note, fault = ("ok", "- ", "NO") if plain else ("✓", "–", "✗")
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        line = finding.line({"good": good, "note": note, "fault": fault}, width)
        line = wrapped(line, terminal_width(), len(good) + width + 2)
        typer.secho(line, fg={"fault": "red", "note": "yellow"}.get(finding.state))
    typer.echo(f"{faults} to mend before a run" if faults else "a run can start: eyas run")
    return 1 if faults else 0
