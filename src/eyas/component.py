"""Components: algorithms whose validated configuration *is* the algorithm.

A family (criteria, calibrators, samplers, ...) is a folder with one algorithm per file. Its ``base.py`` holds
the family's root, a direct subclass of :class:`Component`; each other file holds one frozen pydantic class
with a ``kind`` literal and a ``__call__``. Defining the class registers it, in whatever package it stands: a plugin is
a module, or a package of them, that an entry point of the group ``eyas.components`` or a parameter file names. Of
this package's own members a file is imported when the kind that it defines is asked for, and not before.
"""

import importlib
import importlib.util
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from functools import cache, cached_property
from importlib.metadata import entry_points
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError, ValidatorFunctionWrapHandler, field_validator

from eyas.errors import ParameterError, all_faults, nearest, one_line

GROUP = "eyas.components"
"""Entry points of this group name plugins."""
LARGEST = 2**63 - 1
"""No whole number that a user may write is larger: it fits the 64 bits that tensors and generators have."""
_KIND = re.compile(r'^    kind: Literal\["([^"]+)"\] = ', re.MULTILINE)


class Options(BaseModel):
    """What a user may write: frozen, closed to fields it does not know, and with numbers where numbers are asked."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    @field_validator("*", mode="wrap")
    @classmethod
    def _is_a_number_that_was_meant(cls, value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        checked = validate(value)
        if isinstance(checked, int) and abs(checked) > LARGEST:
            msg = f"a whole number of at most {LARGEST} is asked for"
            raise ValueError(msg)
        if _became_number(value, checked):
            msg = "a number is asked for; true and false (in YAML yes, no, on and off as well) are none"
            raise ValueError(msg)
        return checked


def _became_number(value: Any, checked: Any) -> bool:
    """Whether pydantic took a truth value for 1 or 0, at any depth."""
    if isinstance(value, bool):
        return isinstance(checked, Real) and not isinstance(checked, bool)
    if isinstance(value, Mapping) and isinstance(checked, Mapping):
        return any(_became_number(inner, checked.get(name)) for name, inner in value.items())
    if isinstance(value, (list, tuple)) and isinstance(checked, (list, tuple)):
        return any(map(_became_number, value, checked))
    return False


class Members(MutableMapping[str, type["Component"]]):
    """A family's members by kind; a file of the family's folder is imported when a kind that it defines is asked for.

    Args:
        package: whose modules are the folder's files; without one only what was defined is known.
    """

    def __init__(self, package: str = "") -> None:
        self._package = package
        self._defined: dict[str, type[Component]] = {}

    def __getitem__(self, kind: str) -> type["Component"]:
        if kind not in self._defined and kind in self._modules:
            importlib.import_module(self._modules[kind])
        return self._defined[kind]

    def __setitem__(self, kind: str, member: type["Component"]) -> None:
        self._defined[kind] = member
        self._modules.pop(kind, None)

    def __delitem__(self, kind: str) -> None:
        del self._defined[kind]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._defined, **self._modules})

    def __len__(self) -> int:
        return len({**self._defined, **self._modules})

    @cached_property
    def _modules(self) -> dict[str, str]:
        """The module of each kind that is not imported yet, as the source says it: ``kind: Literal["l1_norm"]``."""
        spec = importlib.util.find_spec(self._package) if self._package else None
        folders = map(Path, (spec and spec.submodule_search_locations) or ())
        paths = [path for folder in folders for path in sorted(folder.glob("[!_]*.py"))]
        return {kind: f"{self._package}.{path.stem}" for path in paths for kind in _KIND.findall(path.read_text())}


class Component(Options):
    """Root of every family; a direct subclass starts one, others without a ``kind`` hold what members share."""

    registry: ClassVar[Members] = Members()
    family: ClassVar[str] = "component"
    kind: str = ""
    """What ``params.yaml`` calls a member; a family's root has none."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Start a family, or register a member under its ``kind``."""
        super().__pydantic_init_subclass__(**kwargs)
        kind = cls.model_fields["kind"].default
        if Component in cls.__bases__:
            package, _, file = cls.__module__.rpartition(".")
            cls.registry, cls.family = Members(package if file == "base" else ""), cls.__name__.lower()
        if not kind:
            return
        known = cls.registry.get(kind)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            places = f"{known.__module__} and {cls.__module__}"
            msg = f"{cls.family} kind {kind!r} is defined twice: {places}; give one of them another kind"
            raise TypeError(msg)
        cls.registry[kind] = cls

    @classmethod
    def members(cls) -> dict[str, type[Self]]:
        """This family's members by kind, in alphabetical order."""
        return {kind: member for kind, member in sorted(cls.registry.items()) if issubclass(member, cls)}

    @classmethod
    def parse(cls, value: Any) -> Self:
        """A member of this family from ``{"kind": ..., **options}``, a bare kind, or a member itself.

        Raises:
            ParameterError: the kind or an option is unknown, or an option has no such value; one line that says what
                is allowed.
        """
        try:
            return cls.validated(value)
        except ValidationError as error:
            kind = str(value["kind"] if isinstance(value, Mapping) else value)
            raise ParameterError(all_faults(error, cls.registry.get(kind), value, cls.family, kind)) from error

    @classmethod
    def validated(cls, value: Any) -> Self:
        """As :meth:`parse`, for a field of another class: pydantic's own errors, which know their place.

        Raises:
            ParameterError: the kind is unknown; the message lists what is available.
            ValidationError: an option is unknown, or has no such value.
        """
        if isinstance(value, cls):
            return value
        options = {"kind": value} if isinstance(value, str) else value
        kind = options.get("kind") if isinstance(options, Mapping) else None
        if isinstance(kind, str) and kind not in cls.registry:
            import_installed_plugins()
        member = cls.registry.get(kind) if isinstance(kind, str) else None
        if member is None or not issubclass(member, cls):
            kinds = sorted(cls.registry) if Component in cls.__bases__ else cls.members()
            msg = (
                f"unknown {cls.family} kind {kind!r} in {value!r}{nearest(kind, kinds)}; available: "
                f"{', '.join(kinds)}; those of a plugin once it is installed, or named under plugins"
            )
            raise ParameterError(msg)
        return member.model_validate(dict(options))


def import_members(package: str, path: Iterable[str]) -> None:
    """Import every module of a folder but those with an underscore in front, so that members register themselves."""
    for module in pkgutil.iter_modules(path):
        if not module.name.startswith("_"):
            importlib.import_module(f"{package}.{module.name}")


def import_on_use(package: str, modules: Mapping[str, str]) -> Callable[[str], object]:
    """A package's ``__getattr__`` (PEP 562), so that a public name is imported when it is first used.

    Args:
        package: its name.
        modules: where each public name is defined.
    """

    def find(name: str) -> object:
        if name not in modules:
            msg = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(msg)
        return getattr(importlib.import_module(modules[name]), name)

    return find


def import_plugin(name: str, where: str) -> None:
    """Import a module, or every module of a package, so that the members that it defines can be chosen.

    Args:
        name: of the module, as in ``my_package.eyas``.
        where: what names it, for the message.

    Raises:
        ParameterError: it is not there, fails, or takes a kind that is taken; one line that says which and what to do.
    """
    try:
        module = importlib.import_module(name)
        import_members(name, getattr(module, "__path__", ()))
    except (Exception, SystemExit) as error:
        missing = isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}.")
        way = "install it, or put it beside the parameter file or on PYTHONPATH"
        msg = f"{where}: {name} is not on this machine: {way}"
        if not missing:
            msg = f"{where}: {name} fails with {type(error).__name__}: {one_line(error)}; mend it, or leave it out"
        raise ParameterError(msg) from error


@cache
def import_installed_plugins() -> None:
    """Import the plugins that installed packages bring.

    Raises:
        ParameterError: one cannot be imported.
    """
    for plugin in entry_points(group=GROUP):
        package = plugin.dist.name if plugin.dist else "an installed package"
        import_plugin(plugin.module, f"entry point {plugin.name} of {package}")


def families() -> dict[str, type[Component]]:
    """The root of every family in this package by the family's name."""
    package = Path(__file__).parent
    for base in sorted(package.rglob("base.py")):
        importlib.import_module(".".join((__package__, *base.relative_to(package).with_suffix("").parts)))
    roots = (root for root in Component.__subclasses__() if root.__module__.startswith(f"{__package__}."))
    return {root.family: root for root in sorted(roots, key=lambda root: root.family)}
