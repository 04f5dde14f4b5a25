"""The user's own packages: where their modules are looked for, and which of them bring members of families."""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from eyas.component import import_installed_plugins, import_plugin

WORKSPACES = "workspaces"
"""Folder of the checkout that holds them."""
ORIGIN = "origin.json"
"""In a workspace: the parameter file that it belongs to, as seen from the checkout, and the command that made it."""


def find_modules_of(params_file: Path) -> None:
    """Let Python look for modules beside a parameter file, too, after anywhere else.

    A workspace's modules lie beside the parameter file that it was made of.
    """
    origin = params_file.resolve().with_name(ORIGIN)
    if origin.parent.parent.name == WORKSPACES and origin.exists():
        checkout = origin.parents[2]
        params_file = checkout / json.loads(origin.read_text())["params_file"]
    folder = str(params_file.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    importlib.invalidate_caches()


def import_plugins(names: Any) -> None:
    """Import installed plugins, and those that ``plugins`` names; what is no list of names is told where it is checked.

    Raises:
        ParameterError: one cannot be imported.
    """
    import_installed_plugins()
    for name in names if isinstance(names, list) else ():
        if isinstance(name, str) and all(part.isidentifier() for part in name.split(".")):
            import_plugin(name)
