"""The user's own packages: where their modules are looked for, and which of them bring members of families."""

import importlib
import json
import sys
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

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


def _are_modules(names: Any) -> bool:
    """Whether this is a list of names that modules can have."""
    if not isinstance(names, (list, tuple)):
        return False
    return all(isinstance(name, str) and all(part.isidentifier() for part in name.split(".")) for name in names)


def _require_modules(names: Any) -> Any:
    if not _are_modules(names):
        msg = "expected names of modules in a list, as in [my_package.pruning]"
        raise ValueError(msg)
    return names


ModuleNames = Annotated[tuple[str, ...], BeforeValidator(_require_modules)]


def import_plugins(names: Any, where: str) -> None:
    """Import installed plugins, and those that a file, ``where``, names; what is no list is told where it is checked.

    Raises:
        ParameterError: one cannot be imported.
    """
    import_installed_plugins()
    for name in names if _are_modules(names) else ():
        import_plugin(name, f"{where}: plugins")
