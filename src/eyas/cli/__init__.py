"""The ``eyas`` command; what it does to a project is done by the project's ``flows``."""

import importlib.util
import sys
from collections.abc import Sequence

from eyas.errors import MissingExtraError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; without ``arguments``, those of the process."""
    if importlib.util.find_spec("typer") is None:
        sys.stderr.write("error: the command needs the extra `pipeline`: pip install 'eyas[pipeline]'\n")
        return MissingExtraError.exit_status
    from eyas.cli.app import run

    return run(arguments)
