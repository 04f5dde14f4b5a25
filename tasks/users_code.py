"""The user's own code that a version was made of: whether it is here as it was, and where it must lie."""

import shlex
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from eyas.operations.fingerprint import MAX_NAMED, OWN, Code
from eyas.storage.digests import file_sha256
from tasks.named_inputs import python_path, search_path
from tasks.reproduction import Check
from tasks.workspace import Workspace


def of_the_users_code(workspace: Workspace, code: Code) -> Iterator[Check]:
    """One check, where a version was made of code that no stage lists."""
    own = code.get(OWN, {})
    faults = [fault for name, digest in own.items() for fault in _faults(workspace, name, digest)]
    if faults:
        more = [f"{len(faults) - MAX_NAMED} more"] if len(faults) > MAX_NAMED else []
        yield Check("own code", False, "; ".join([*faults[:MAX_NAMED], *more]))
    elif own:
        yield Check("own code", True, f"{', '.join(own)} as it was")


def with_python_path(command: str, workspace: Workspace, code: Code) -> str:
    """A command with the folders of ``PYTHONPATH`` that hold the code."""
    own = code.get(OWN, {})
    needed = [folder for folder in python_path(workspace) if any((folder / name).is_file() for name in own)]
    folders = ":".join(shlex.quote(str(folder)) for folder in needed if folder.resolve() != workspace.root.resolve())
    return f"PYTHONPATH={folders}:$PYTHONPATH {command}" if folders else command


def _faults(workspace: Workspace, name: str, digest: str) -> Iterator[str]:
    if len(digest) != 64:
        here = _version(name)
        if here != digest:
            yield f"{name} {digest} was installed, here is {here or 'none'}"
        return
    places = (Path(folder) / name for folder in search_path(workspace))
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        yield f"{name} is not here: the folder that holds {name} must be the checkout, or stand in PYTHONPATH"
    elif file_sha256(path) != digest:
        yield f"{path} is not what it was"


def _version(name: str) -> str:
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        return ""
