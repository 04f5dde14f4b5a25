"""Components: algorithms whose validated configuration *is* the algorithm.

A family (criteria, calibrators, samplers, ...) is a folder with one algorithm per file. Its ``base.py`` holds
the family's root, a direct subclass of :class:`Component`; each other file holds one frozen pydantic class
with a ``kind`` literal and a ``__call__``. Defining the class registers it.
"""

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidatorFunctionWrapHandler, field_validator

from eyas.errors import ParameterError


class Options(BaseModel):
    """What a user may write: frozen, closed to fields it does not know, and with numbers where numbers are asked."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @field_validator("*", mode="wrap")
    @classmethod
    def _no_truth_as_number(cls, value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        checked = validate(value)
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


class Component(Options):
    """Root of every family; a direct subclass starts one, others without a ``kind`` hold what members share."""

    registry: ClassVar[dict[str, type["Component"]]] = {}
    family: ClassVar[str] = "component"
    kind: str = ""
    """What ``params.yaml`` calls a member; a family's root has none."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Start a family, or register a member under its ``kind``."""
        super().__pydantic_init_subclass__(**kwargs)
        kind = cls.model_fields["kind"].default
        if Component in cls.__bases__:
            cls.registry, cls.family = {}, cls.__name__.lower()
        if not kind:
            return
        known = cls.registry.get(kind)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            msg = f"{cls.family} kind {kind!r} is defined twice: {known.__module__} and {cls.__module__}"
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
            ParameterError: the kind is unknown; the message lists what is available.
        """
        if isinstance(value, cls):
            return value
        options = {"kind": value} if isinstance(value, str) else value
        kind = options.get("kind") if isinstance(options, dict) else None
        members = cls.members()
        if not isinstance(kind, str) or kind not in members:
            msg = f"unknown {cls.family} kind {kind!r} in {value!r}; available: {', '.join(members)}"
            raise ParameterError(msg)
        return members[kind].model_validate(options)


def import_members(package: str, path: Iterable[str]) -> None:
    """Import every module of a family's folder, so that its members register themselves."""
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")


def families() -> dict[str, type[Component]]:
    """The root of every family in this package by the family's name, with all members registered."""
    package = Path(__file__).parent
    for base in sorted(package.rglob("base.py")):
        importlib.import_module(".".join((__package__, *base.relative_to(package).with_suffix("").parts)))
    roots = (root for root in Component.__subclasses__() if root.__module__.startswith(f"{__package__}."))
    return {root.family: root for root in sorted(roots, key=lambda root: root.family)}
