"""What keeps the rooms readable: short modules and signatures, words that say something, tests that mirror the tree."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path for top in ("src", "tasks", "flows", "models") for path in (ROOT / top).rglob("*.py"))
AROUND = sorted(path for top in ("tests", "benchmarks") for path in (ROOT / top).rglob("*.py"))
LONGEST_MODULE, LONGEST_MEDIAN, MOST_ARGUMENTS = 300, 120, 13
SAYS_NOTHING = {"found", "given"}
OUTSIDE_THE_TREE = {"support", "integration", "ci", "docs"}
# Parallels: a family's root, a package's face, the progress of anything and that of a race.
ONE_IDEA = {"base.py", "__init__.py", "__main__.py", "progress.py"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def test_no_module_is_long_and_half_are_short() -> None:
    lines = {name_of(path): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: count for name, count in lines.items() if count > LONGEST_MODULE} == {}
    assert median(lines.values()) <= LONGEST_MEDIAN


def test_no_public_signature_is_long() -> None:
    long = {}
    for path in SOURCES:
        for function in functions(path):
            arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
            named = [argument for argument in arguments if argument.arg not in {"self", "cls"}]
            if not function.name.startswith("_") and len(named) > MOST_ARGUMENTS:
                long[f"{name_of(path)}:{function.name}"] = len(named)
    assert long == {}


@pytest.mark.parametrize("path", [*SOURCES, *AROUND], ids=name_of)
def test_names_say_what_they_hold(path: Path) -> None:
    tree = ast.parse(path.read_text())
    hypothesis = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "hypothesis"
        for alias in node.names
    }
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - hypothesis
    names |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert names & SAYS_NOTHING == set()


def test_a_file_name_occurs_twice_only_where_the_parallel_is_meant() -> None:
    places = defaultdict(list)
    for path in SOURCES:
        if path.name not in ONE_IDEA and name_of(path).startswith("src/"):
            places[path.name].append(name_of(path))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_a_class_name_occurs_once() -> None:
    places = defaultdict(list)
    for path in (path for path in SOURCES if not name_of(path).startswith("models/")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(name_of(path))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_tests_mirror_the_rooms() -> None:
    rooms = {path.name for path in (ROOT / "src" / "eyas").iterdir() if path.is_dir() and path.name != "__pycache__"}
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders - OUTSIDE_THE_TREE == rooms | {"flows", "tasks", "models"}


def test_nothing_but_the_ground_lies_flat_in_the_package() -> None:
    flat = {path.name for path in (ROOT / "src" / "eyas").glob("*.py")}
    assert flat == {"__init__.py", "component.py", "errors.py", "parallel.py", "progress.py"}
