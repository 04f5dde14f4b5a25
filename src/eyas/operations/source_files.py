"""The source files that a module reaches by import, told by reading them: nothing is imported and nothing runs.

A file counts with its own imports, also those inside functions, and with the packages on the way to it. Code that
looks for more at run time (a computed ``import_module``, ``__file__``, ``pkgutil``) counts with its whole package, or,
outside of any, with the modules beside it and the files that it names. What a distribution installed counts by its
version.
"""

import importlib
import os
import pkgutil
import site
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import packages_distributions, version
from pathlib import Path

from eyas.operations.imports import Imports, read_imports
from eyas.storage.digests import file_sha256, json_sha256

VARIABLE = "$"
"""What the names of variables of the environment begin with, and no file's does that is a module."""
LIBRARY = __name__.partition(".")[0]
"""Of this package only what is asked for is read: it reaches no code of a user's."""


class SourceFiles:
    """Modules as an interpreter with this search path would import them."""

    def __init__(self, search_path: Sequence[str]) -> None:
        importlib.invalidate_caches()
        self.search_path = search_path
        self._read, self._find = cache(read_imports), cache(self._on_the_way)
        self._is_installed = cache(self._comes_installed)

    def reached_from(self, modules: Sequence[str], is_listed: Callable[[Path], bool]) -> dict[str, str]:
        """What ``modules`` reach, themselves included.

        Args:
            modules: names, such as ``package.module``; those that do not exist reach nothing.
            is_listed: whether a file is looked after elsewhere; its imports count, itself and what is installed do not.

        Returns:
            the sha256 of each file, by its path from the folder it was imported from, and the version of each
            installed distribution, by its name; and of each variable of the environment that the code names, as
            ``$NAME``, the sha256 of name and value, or that it is not set.
        """
        code: dict[str, str] = {}
        waiting, seen = [(name, True) for name in modules], set()
        while waiting:
            name, owned = waiting.pop()
            for spec in self._find(name):
                if (spec.name, owned) in seen or (_is_library(spec.name) and spec.name not in modules):
                    continue
                seen.add((spec.name, owned))
                if _is_standard(spec):
                    break
                if self._is_installed(spec.name.partition(".")[0]):
                    code |= _versions(spec.name.partition(".")[0]) if owned else {}
                    break
                own = not (_is_library(spec.name) or is_listed(_file(spec)))
                code |= _digests(spec, self._imports(spec), is_listed) if own else {}
                code |= _variables(self._imports(spec).variables) if own else {}
                waiting += [(reached, own) for reached in self._reached(spec)]
        return dict(sorted(code.items()))

    def _on_the_way(self, name: str) -> tuple[ModuleSpec, ...]:
        """The packages that importing a module runs, and the module; as far as they exist."""
        package, _, _ = name.rpartition(".")
        outer = self._find(package) if package else ()
        if package and (not outer or outer[-1].name != package):
            return outer
        folders = (outer[-1].submodule_search_locations or ()) if outer else self.search_path
        spec = _find(name, folders) or (None if package else _from_finders(name))
        return (*outer, spec) if spec else outer

    def _reached(self, spec: ModuleSpec) -> Iterator[str]:
        """Names that may be modules: what the code imports, and every module of a package that it looks through."""
        imports = self._imports(spec)
        yield from imports.names
        for package in imports.stars:
            yield package
            for inner in self._find(package):
                yield from (f"{package}.{text}" for text in self._imports(inner).texts if text.isidentifier())
        if imports.looks_around and not spec.parent and spec.has_location:
            yield from (path.stem for path in _file(spec).parent.glob("*.py") if path.stem.isidentifier())
        if imports.looks_around and spec.parent:
            for path in _files(_file(spec).parent):
                inside = path.relative_to(_file(spec).parent).with_suffix("")
                if path.suffix == ".py" and all(part.isidentifier() for part in inside.parts):
                    yield ".".join((spec.parent, *inside.parts)).removesuffix(".__init__")

    def _imports(self, spec: ModuleSpec) -> Imports:
        is_source = spec.has_location and _file(spec).suffix == ".py"
        return self._read(_file(spec), spec.parent or "") if is_source else Imports()

    def _comes_installed(self, package: str) -> bool:
        """Whether a distribution brought it here; a folder that somebody copied there is code like any other."""
        (spec,) = self._find(package)
        places = spec.submodule_search_locations or [str(_file(spec))]
        return any(_below(Path(place), _sites()) for place in places) and package in _distributions()


def _find(name: str, folders: Sequence[str]) -> ModuleSpec | None:
    """A module in folders, as ``PathFinder`` finds it, but without asking for the parent, which is not imported."""
    portions: list[str] = []
    for folder in folders:
        finder = pkgutil.get_importer(folder)
        spec = finder.find_spec(name) if finder else None
        if spec is not None and spec.loader is not None:
            return spec
        portions += (spec.submodule_search_locations or ()) if spec else ()
    if not portions:
        return None
    namespace = ModuleSpec(name, None, is_package=True)
    namespace.submodule_search_locations = portions
    return namespace


def _from_finders(name: str) -> ModuleSpec | None:
    """A top-level module that is in no folder: built in, or installed in place by a finder of its own."""
    specs = (finder.find_spec(name, None) for finder in sys.meta_path if hasattr(finder, "find_spec"))
    return next((spec for spec in specs if spec is not None), None)


def _is_standard(spec: ModuleSpec) -> bool:
    if spec.origin in {"built-in", "frozen"}:
        return True
    return spec.has_location and _below(_file(spec), _STANDARD) and not _below(_file(spec), _sites())


def _digests(spec: ModuleSpec, imports: Imports, is_listed: Callable[[Path], bool]) -> dict[str, str]:
    """The module's file, and the others that its code may open."""
    if not spec.has_location:
        return {}
    file = _file(spec)
    folder, files = file.parent, {file}
    if imports.looks_around:
        texts = {text.lstrip("/") for text in imports.texts}  # as in dirname(...) + "/name"
        beside = [folder] if spec.parent else [folder / text for text in texts if _names_file(folder, text)]
        files |= {inner for path in beside for inner in _files(path)}
    prefix = (spec.parent or "").split(".") if spec.parent else []
    names = {"/".join((*prefix, *path.relative_to(folder).parts)): path for path in files if not is_listed(path)}
    return {name: file_sha256(path) for name, path in names.items()}


def variable_sha256(variable: str) -> str:
    """Digest of a variable's name and what the environment sets it to, if it does: the value may be a secret."""
    name = variable.removeprefix(VARIABLE)
    return json_sha256([name, os.environ.get(name)])


def _variables(names: Iterable[str]) -> dict[str, str]:
    return {f"{VARIABLE}{name}": variable_sha256(name) for name in names}


def _names_file(folder: Path, text: str) -> bool:
    """Whether a text of the code names something below the code's folder."""
    try:
        return text not in {"", "."} and (folder / text).resolve().is_relative_to(folder) and (folder / text).exists()
    except (OSError, ValueError):  # too long for a name, or with a null in it
        return False


def _files(path: Path) -> Iterator[Path]:
    """A file, or those below a folder, but for hidden and compiled ones."""
    if path.is_file():
        yield path
    for inner in path.rglob("*"):
        parts = inner.relative_to(path).parts
        if inner.is_file() and not any(part.startswith(".") or part == "__pycache__" for part in parts):
            yield inner


def _file(spec: ModuleSpec) -> Path:
    """Where a module lies: its file, or the archive that holds it."""
    origin = Path(spec.origin or "")
    return next((path for path in (origin, *origin.parents) if path.is_file()), origin)


def _is_library(name: str) -> bool:
    return name.partition(".")[0] == LIBRARY


def _below(path: Path, folders: Sequence[Path]) -> bool:
    return any(path.resolve().is_relative_to(folder) for folder in folders)


def _versions(package: str) -> dict[str, str]:
    """By the distributions that a package is of; what a build adds to its version (``+cpu``) does not count."""
    return {name: version(name).partition("+")[0] for name in _distributions()[package]}


@cache
def _distributions() -> Mapping[str, Sequence[str]]:
    return packages_distributions()


@cache
def _sites() -> tuple[Path, ...]:
    """Folders that distributions are installed in."""
    places = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()]
    return tuple(Path(place).resolve() for place in (*places, site.getusersitepackages()))


_STANDARD = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib"))
