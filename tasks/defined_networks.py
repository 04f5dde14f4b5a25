"""Where a class or function of a name is defined among the user's own modules: files are read, none is imported."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

MOST_FILES, MOST_BYTES = 500, 1_000_000
"""What is looked through at most in a folder, and read of a file."""


def defined_as(name: str, folders: Sequence[Path]) -> list[tuple[str, Path]]:
    """Each ``module:name`` that a Python file of the folders, or of a package right below, defines, with its folder.

    Args:
        name: of a class or function, written at the left margin of its file.
        folders: such as those on PYTHONPATH; those that are not there count for nothing.
    """
    if not name.isidentifier():
        return []
    line = re.compile(rf"^(?:class|def) {name}\b".encode(), re.MULTILINE)
    defined: dict[tuple[str, Path], None] = {}
    for folder in dict.fromkeys(one.resolve() for one in folders):
        for file in _modules(folder):
            if line.search(_start(file)):
                module = ".".join(file.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
                defined[f"{module}:{name}", folder] = None
    return list(defined)


def python_path() -> list[Path]:
    """The folders of PYTHONPATH."""
    return [Path(part) for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]


def _modules(folder: Path) -> Iterator[Path]:
    """Files that ``import`` finds in a folder, up to one package deep."""
    try:
        files = sorted(folder.glob("*.py")) + sorted(
            file for inner in sorted(folder.glob("*/__init__.py")) for file in inner.parent.glob("*.py")
        )
    except OSError:  # a folder that may not be read holds nothing that could be imported
        return
    yield from (file for file in files[:MOST_FILES] if all(part.isidentifier() for part in file.stem.split(".")))


def _start(file: Path) -> bytes:
    try:
        with file.open("rb") as content:
            return content.read(MOST_BYTES)
    except OSError:
        return b""
