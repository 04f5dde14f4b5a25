"""How this program is called from where the user stands, for commands that are printed to be pasted."""

import os
import shutil
import sys
from pathlib import Path


def program(start: Path) -> list[str]:
    """The words before a command's name, for a shell that stands in ``start``.

    A script below ``start`` is named by its path: whether the shell knows it by name is not ours to tell, since
    ``make`` and activated environments change ``PATH``. Elsewhere it is ``eyas`` where that is ours, else its path,
    else the module.
    """
    script = Path(sys.prefix) / "bin" / "eyas"
    if not script.exists():
        return [sys.executable, "-m", "eyas.cli"]
    if script.is_relative_to(start):
        return [os.path.relpath(script, start)]
    known = shutil.which("eyas")
    return ["eyas"] if known and Path(known).samefile(script) else [str(script)]
