"""What a source file imports, as its text says."""

import ast
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

LOOKING = {"__file__", "__path__", "__loader__", "__spec__", "spec_from_file_location", "run_path", "run_module"}
LOOKING |= {"getfile", "getsourcefile", "currentframe"}
LOOKING_MODULES = {"pkgutil", "runpy", "importlib.resources", "pydoc", "torch.utils.cpp_extension"}
READING = {"getenv"}
IMPORTING = {"import_module", "__import__"}


@dataclass
class Imports:
    """Of one module."""

    names: set[str] = field(default_factory=set)
    """What may be modules: of ``from a import b`` both ``a`` and ``a.b``."""
    stars: set[str] = field(default_factory=set)
    """Modules of which it takes all names."""
    texts: set[str] = field(default_factory=set)
    """Every text that stands in the code."""
    variables: set[str] = field(default_factory=set)
    """Variables of the environment that it reads by a name in the code."""
    looks_around: bool = False
    """Whether it looks for modules or files in a way that only running it tells."""


def read_imports(path: Path, package: str) -> Imports:
    """The imports of a file; none of one that is no Python, which whoever imports it will say.

    Args:
        path: the file.
        package: what relative imports start from.
    """
    reader = _Reader(package)
    try:
        reader.visit(ast.parse(path.read_bytes()))
    except (SyntaxError, ValueError):
        return Imports()
    return reader.imports


def _words(node: ast.AST) -> set[str]:
    """The names that a dotted expression is made of."""
    return {getattr(inner, "attr", getattr(inner, "id", "")) for inner in ast.walk(node)}


def _texts(nodes: Iterable[ast.AST]) -> set[str]:
    """Texts among nodes; names that are computed are not known."""
    values = (node.value for node in nodes if isinstance(node, ast.Constant))
    return {value for value in values if isinstance(value, str)}


class _Reader(ast.NodeVisitor):
    def __init__(self, package: str) -> None:
        self.package, self.imports = package, Imports()

    def visit_If(self, node: ast.If) -> None:
        """Imports for type checkers run nowhere."""
        name = getattr(node.test, "attr", getattr(node.test, "id", ""))
        for inner in node.orelse if name == "TYPE_CHECKING" else ast.iter_child_nodes(node):
            self.visit(inner)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._import(alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = self._absolute("." * node.level + (node.module or ""))
        if not base:
            return
        self._import(base)
        for alias in node.names:
            if alias.name == "*":
                self.imports.stars.add(base)
            else:
                self._import(f"{base}.{alias.name}")
            renamed = alias.name in IMPORTING and alias.asname is not None
            self.imports.looks_around |= renamed or alias.name in LOOKING

    def visit_Call(self, node: ast.Call) -> None:
        """``import_module("a.b")`` is an import; with anything but a text it is a search."""
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        of_environment = name in READING or "environ" in _words(node.func)
        self.imports.variables |= _texts(node.args[:1]) if of_environment else set()
        if name not in IMPORTING:
            self.generic_visit(node)
            return
        first = node.args[0] if node.args else None
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            self._import(self._absolute(first.value))
        else:
            self.imports.looks_around = True
        for argument in (*node.args, *node.keywords):
            self.visit(argument)

    def visit_Name(self, node: ast.Name) -> None:
        self.imports.looks_around |= node.id in LOOKING | IMPORTING

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.imports.looks_around |= node.attr in LOOKING | IMPORTING
        self.visit(node.value)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        """``os.environ["NAME"]``."""
        self.imports.variables |= _texts([node.slice]) if "environ" in _words(node.value) else set()
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        """``"NAME" in os.environ``."""
        if any("environ" in _words(other) for other in node.comparators):
            self.imports.variables |= _texts([node.left])
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.imports.texts.add(node.value)

    def _import(self, name: str) -> None:
        self.imports.names |= {name} - {""}
        self.imports.looks_around |= name in LOOKING_MODULES

    def _absolute(self, name: str) -> str:
        try:
            return importlib.util.resolve_name(name, self.package or None)
        except ImportError:  # beyond the top: importing it will say so
            return ""
