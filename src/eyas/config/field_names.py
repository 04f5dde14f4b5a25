"""The names that ``params.yaml`` may hold, read from the source of its classes, which take longer to import.

Below what is no section, such as the options of a criterion, nothing is known here.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from eyas.errors import no_such_parameter

ROOT = "PipelineParams"
_SOURCES = ("config/*.py", "operations/promote_params.py", "storage/settings.py")


def field_names(place: Sequence[str] = ()) -> tuple[str, ...] | None:
    """What is allowed at a place, such as ``["sample", "budget"]``; None where that is not known here."""
    name: str | None = ROOT
    for part in place:
        name = _classes().get(name or "", {}).get(part)
    fields = _classes().get(name or "")
    return tuple(fields) if fields else None


def unknown_name(place: Sequence[str]) -> str:
    """What is wrong with the names of a place, such as ``["sample", "budgt", "macs"]``; empty where nothing is."""
    for depth, part in enumerate(place):
        names = field_names(place[:depth])
        if names and part not in names:
            return f"{'.'.join(place[: depth + 1])}: {no_such_parameter(place[: depth + 1], names)}"
    return ""


@cache
def _classes() -> Mapping[str, Mapping[str, str]]:
    """The fields of each class, with the name of the class behind a field; empty where a field holds no class."""
    library = Path(__file__).parents[1]
    trees = (ast.parse(path.read_text()) for pattern in _SOURCES for path in sorted(library.glob(pattern)))
    return {node.name: dict(_fields(node)) for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for member in node.body:
        if not isinstance(member, ast.AnnAssign) or not isinstance(member.target, ast.Name):
            continue
        words = member.value.keywords if isinstance(member.value, ast.Call) else ()
        alias = next((ast.literal_eval(word.value) for word in words if word.arg == "alias"), member.target.id)
        yield alias, member.annotation.id if isinstance(member.annotation, ast.Name) else ""
