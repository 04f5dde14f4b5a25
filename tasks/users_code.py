"""The user's own code that a version was made of: whether it is here as it was, and where it must lie."""

import shlex
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from eyas.operations.fingerprint import MAX_NAMED, OWN, Code
from eyas.operations.source_files import VARIABLE, variable_sha256
from eyas.storage.digests import file_sha256
from tasks.named_inputs import python_path, search_path
from tasks.reproduction import Check
from tasks.workspace import Workspace

PYTHON_PATH = "eyas.python_path"
"""Tag of a version: the folders of ``PYTHONPATH`` that held its code."""


def of_the_users_code(workspace: Workspace, code: Code, was_in: str) -> Iterator[Check]:
    """One check, where a version was made of code that no stage lists; ``was_in`` names its folders then."""
    own = code.get(OWN, {})
    faults = [fault for name, digest in own.items() for fault in _faults(workspace, name, digest)]
    if faults:
        more = [f"{len(faults) - MAX_NAMED} more"] if len(faults) > MAX_NAMED else []
        files = [name for name, digest in own.items() if not (_is_distribution(digest) or _is_variable(name))]
        gone = any(_place(workspace, name) is None for name in files)
        place = [f"when the version was made, PYTHONPATH held {was_in}"] if was_in and gone else []
        yield Check("own code", False, "; ".join([*faults[:MAX_NAMED], *more, *place]))
    elif own:
        yield Check("own code", True, f"{', '.join(own)} as it was")


def own_code_here(workspace: Workspace, code: Code) -> dict[str, str]:
    """What there is now of a version's own code, whether or not the parameters still lead to it."""
    names = {name: _here(workspace, name, digest) for name, digest in code.get(OWN, {}).items()}
    return {name: here for name, here in names.items() if here}


def with_python_path(command: str, folders: str) -> str:
    """A command with these folders in its ``PYTHONPATH``."""
    return f"PYTHONPATH={folders}:$PYTHONPATH {command}" if folders else command


def folders_of_code(workspace: Workspace, code: Code) -> str:
    """The folders of ``PYTHONPATH`` that hold the code, as a shell takes them."""
    own = code.get(OWN, {})
    needed = [folder for folder in python_path(workspace) if any((folder / name).is_file() for name in own)]
    return ":".join(shlex.quote(str(folder)) for folder in needed if folder.resolve() != workspace.root.resolve())


def _faults(workspace: Workspace, name: str, digest: str) -> Iterator[str]:
    here = _here(workspace, name, digest)
    if here == digest:
        return
    if _is_distribution(digest):
        yield f"{name} {digest} was installed, here is {here or 'none'}"
    elif _is_variable(name):
        yield f"the environment sets {name} to something else than then, or one of both leaves it unset"
    elif not here:
        place = "must be the checkout, or stand in PYTHONPATH, or hold the parameter file"
        yield f"{name} is not here: the folder that holds {name} {place}"
    else:
        yield f"{_place(workspace, name)} is not what it was"


def _here(workspace: Workspace, name: str, digest: str) -> str:
    """Version or sha256 of what has this name now; empty where nothing has."""
    if _is_distribution(digest):
        return _version(name)
    if _is_variable(name):
        return variable_sha256(name)
    path = _place(workspace, name)
    return file_sha256(path) if path else ""


def _is_distribution(digest: str) -> bool:
    """Distributions are recorded by their versions, files by sha256."""
    return len(digest) != 64


def _is_variable(name: str) -> bool:
    return name.startswith(VARIABLE)


def _place(workspace: Workspace, name: str) -> Path | None:
    places = (Path(folder) / name for folder in search_path(workspace))
    return next((place for place in places if place.is_file()), None)


def _version(name: str) -> str:
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        return ""
