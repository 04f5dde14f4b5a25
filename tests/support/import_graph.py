"""Which modules import each other in a circle when they are loaded, read from their source.

Python loads the packages around a module before it, and stops at names that a half-loaded module does not have yet. So
only a module of a circle can fail because it is imported first.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path


def modules_of(packages: Mapping[str, Path]) -> dict[str, Path]:
    """File by module name, of packages by name; without ``__main__``, which runs."""
    files = [(folder, path) for folder in packages.values() for path in sorted(folder.rglob("*.py"))]
    names = {path: path.relative_to(folder.parent).with_suffix("").parts for folder, path in files}
    return {
        ".".join(parts[:-1] if parts[-1] == "__init__" else parts): path
        for path, parts in names.items()
        if parts[-1] != "__main__"
    }


def import_circles(modules: Mapping[str, Path]) -> list[list[str]]:
    """Modules that reach each other by what they import when they are loaded."""
    trees = {name: ast.parse(path.read_bytes()) for name, path in modules.items()}
    lazy = {name: _lazy_names(tree, modules) for name, tree in trees.items() if modules[name].name == "__init__.py"}
    edges = {name: {*_imported(name, tree, modules, lazy)} for name, tree in trees.items()}
    return [sorted(part) for part in _strongly_connected(edges) if len(part) > 1]


def _imported(
    module: str, tree: ast.Module, modules: Mapping[str, Path], lazy: Mapping[str, Mapping[str, str]]
) -> Iterator[str]:
    """Modules that are loaded with this one, and the packages around them that are not its own."""
    own = {module, *_packages_around(module)}
    for statement in _statements(tree.body):
        for name in _names(statement, lazy):
            if name in modules and name != module:
                yield name
                yield from (package for package in _packages_around(name) if package not in own)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """What runs when a module is loaded: no function, nothing for type checkers alone."""
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        yield statement
        if not _for_type_checkers(statement):
            yield from _statements(getattr(statement, "body", []))
        for part in ("orelse", "finalbody", "handlers"):
            yield from _statements(getattr(statement, part, []))


def _names(statement: ast.stmt, lazy: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    if isinstance(statement, ast.Import):
        yield from (alias.name for alias in statement.names)
    elif isinstance(statement, ast.ImportFrom) and statement.module:
        yield statement.module
        for alias in statement.names:
            yield f"{statement.module}.{alias.name}"
            yield lazy.get(statement.module, {}).get(alias.name, "")


def _lazy_names(tree: ast.Module, modules: Mapping[str, Path]) -> dict[str, str]:
    """Names that a package shows to type checkers, and imports on first use: from which module each comes."""
    shown = [node for node in ast.walk(tree) if _for_type_checkers(node)]
    imports = [one for node in shown for one in ast.walk(node) if isinstance(one, ast.ImportFrom)]
    return {alias.name: one.module for one in imports for alias in one.names if one.module in modules}


def _for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def _packages_around(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _strongly_connected(edges: Mapping[str, set[str]]) -> list[set[str]]:
    """Parts of the graph whose nodes reach each other, by what each reaches and is reached from."""
    reached = {node: _reachable(node, edges) for node in edges}
    parts, seen = [], set[str]()
    for node in edges:
        if node not in seen:
            parts.append({node} | {other for other in reached[node] if node in reached[other]})
            seen |= parts[-1]
    return parts


def _reachable(start: str, edges: Mapping[str, set[str]]) -> set[str]:
    reached, ahead = set[str](), [start]
    while ahead:
        new = edges[ahead.pop()] - reached
        reached |= new
        ahead += new
    return reached
