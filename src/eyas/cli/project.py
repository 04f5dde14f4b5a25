"""The project that the user stands in, and the one place where a command is handed over to its ``flows``."""

import importlib
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from eyas.errors import BadInputError

MARKS = ("dvc.yaml", "params.yaml", "flows")


def find_project(start: Path) -> Path | None:
    """The nearest folder at or above ``start`` that holds a project; None where there is none."""
    folders = (start, *start.parents)
    return next((folder for folder in folders if all((folder / mark).exists() for mark in MARKS)), None)


def hand_over(command: str, *arguments: Any, **options: Any) -> int:
    """Let ``flows`` of the project do a command, from the project's folder; returns the exit status.

    A command is a function of ``flows.commands``, or ``module.function`` of another one.

    Paths among the arguments must be absolute.

    Raises:
        BadInputError: the user stands in no project, or in one that has another library than this command.
    """
    here = Path.cwd()
    project = find_project(here)
    if project is None:
        msg = f"{here} is in no project: go to a folder that holds {', '.join(MARKS)}, or to one below it"
        raise BadInputError(msg)
    own, this = project / "src" / "eyas", Path(__file__).resolve().parents[1]
    if own.is_dir() and own.resolve() != this:  # DVC would record sources that did not run
        whole = shlex.join([str(project / ".venv/bin/eyas"), *sys.argv[1:]])
        msg = f"{project} has a library of its own, and this command runs {this}: call {whole}"
        raise BadInputError(msg)
    sys.path.insert(0, str(project))
    os.chdir(project)
    module, _, function = command.rpartition(".")
    do = getattr(importlib.import_module(f"flows.{module or 'commands'}"), function)
    return int(do(*arguments, **options))
